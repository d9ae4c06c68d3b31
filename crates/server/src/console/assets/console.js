// Every page works without this: it shows times in the reader's zone, copies ids, sorts tables, follows runs, and presses
// buttons by keys.

const times = (root) => {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  for (const time of root.querySelectorAll('time[datetime]')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = `${time.dateTime.replace('T', ' ').replace('Z', '')} UTC`;
    time.textContent = format.format(at);
  }
};

const copies = (root) => {
  if (!navigator.clipboard) return;
  for (const id of root.querySelectorAll('[data-copy]')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'copy';
    button.setAttribute('aria-label', 'Copy this id');
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(id.dataset.copy);
        button.textContent = 'copied';
      } catch {
        button.textContent = 'not copied';
      }
      setTimeout(() => { button.textContent = 'copy'; }, 1500);
    });
    id.after(button);
  }
};

const key = (cell) => {
  const text = (cell?.dataset.sort ?? cell?.textContent ?? '').trim();
  const number = Number(text.replace(/[\s,]/g, ''));
  return text === '' || Number.isNaN(number) ? { text } : { number };
};

const compare = (a, b) => {
  if (a.number !== undefined && b.number !== undefined) return a.number - b.number;
  if (a.number !== undefined) return -1;
  if (b.number !== undefined) return 1;
  return a.text.localeCompare(b.text);
};

const sorts = (root) => {
  for (const table of root.querySelectorAll('table[data-sortable]')) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener('click', () => {
        const descending = heading.getAttribute('aria-sort') === 'ascending';
        for (const other of headings) other.removeAttribute('aria-sort');
        heading.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => ({ row, key: key(row.cells[column]) }));
        rows.sort((a, b) => (descending ? compare(b.key, a.key) : compare(a.key, b.key)));
        body.append(...rows.map(({ row }) => row));
      });
    });
  }
};

// `/` goes to the search field; j and k move through the rows of a list, Enter opens one.
const keys = () => {
  let current = -1;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.('input, textarea, select, button')) return;
    const rows = [...document.querySelectorAll('table[data-rows] tbody tr')];
    if (event.key === '/') {
      const field = document.querySelector('input[type=search]');
      if (field) { event.preventDefault(); field.focus(); }
    } else if ((event.key === 'j' || event.key === 'k') && rows.length > 0) {
      rows[current]?.classList.remove('current');
      current = Math.min(Math.max(current + (event.key === 'j' ? 1 : -1), 0), rows.length - 1);
      rows[current].classList.add('current');
      rows[current].querySelector('a')?.focus();
      rows[current].scrollIntoView({ block: 'nearest' });
    }
  });
};

// A key presses the button with that `data-key`, once: the page that follows has other buttons.
const presses = () => {
  let isPressed = false;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isPressed) return;
    if (event.target.closest?.('input, textarea, select')) return;
    const button = [...document.querySelectorAll('button[data-key]')]
      .find((one) => one.dataset.key === event.key.toLowerCase());
    if (!button) return;
    event.preventDefault();
    isPressed = true;
    button.click();
  });
  // The browser may show the page again as it was left.
  window.addEventListener('pageshow', () => { isPressed = false; });
};

// An element with `data-events` is replaced at each event by the same element of the page, or of `data-page`, loaded again.
const follows = () => {
  const live = document.querySelector('[data-events]');
  if (!live) return;
  const events = new EventSource(live.dataset.events);
  let loading = false;
  let again = false;
  const load = async () => {
    if (loading) { again = true; return; }
    loading = true;
    try {
      const answer = await fetch(live.dataset.page ?? location.href, { headers: { accept: 'text/html' } });
      if (answer.ok && !answer.redirected) {
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        const fresh = page.querySelector('#live');
        const shown = document.querySelector('#live');
        if (fresh && shown) {
          shown.replaceChildren(...fresh.childNodes);
          enhance(shown);
          if (fresh.dataset.events === undefined) events.close();
        }
      }
    } catch {
      // The next event tries again.
    }
    loading = false;
    if (again) { again = false; load(); }
  };
  events.addEventListener('progress', load);
};

const enhance = (root) => {
  times(root);
  copies(root);
  sorts(root);
};

enhance(document);
keys();
presses();
follows();
