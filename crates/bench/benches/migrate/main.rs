//! migrate/N: speed of migrating N records of a Chroma directory to PostgreSQL, compared with the physical limit and
//! two ways in Python.
//!
//! `cargo bench -p bench --bench migrate`, with an interpreter that has what `rivals/requirements.txt` pins in
//! `PANOPTICON_BENCH_PYTHON` (default `python3`). `PANOPTICON_BENCH_RECORDS` says how many records (default
//! `10000,100000`): directories of up to 100,000 are written by Chroma itself, larger ones by `test_support`'s writer,
//! with the same kinds of text and metadata. `PANOPTICON_BENCH_BINARY` names a `panopticon` to measure instead of
//! the release build. `PANOPTICON_BENCH_RIVALS=off` leaves out (c) and (d): for 1,000,000 records (c) alone takes more
//! than ten minutes. All run on one embedded PostgreSQL with full durability, in `target/bench/migrate`.
//!
//! - (a) `raw`: the server's own `COPY t FROM 'file' WITH (FORMAT binary)` of the rows that we migrated, into a table
//!   of the same definition: the physical limit.
//! - (b) `ours`: `panopticon migrate collection … --no-verify`, phases scan and copy; then `panopticon verify`.
//! - (c) `rival`: pages of `collection.get()` and binary COPY by psycopg, at the best of several page sizes; excludes
//!   the time to start and to load Chroma's index.
//! - (d) `old`: text by text: embedded again by Chroma's default function, inserted, committed; on a sample.
//!
//! No time includes building a vector index. Rounds alternate (with more than 100,000 records, (c) and (d) run only in
//! the first), each contestant starts after a checkpoint, and each round compares the tables' rows. The report goes to
//! `target/bench/migrate.json`.

mod contest;
mod database;
mod ours;
mod targets;

use std::{env, path::Path};

use anyhow::{Context as _, Result, bail};
use bench::{Panopticon, folder, median, write_report};
use provision::{Access, DataDir, Durability, Server, ServerOptions};
use serde_json::{Value, json};

use crate::{contest::Contest, ours::Contestant};

/// Rounds up to [`LARGEST_BY_CHROMA`] records, and of more.
const ROUNDS: usize = 5;
const ROUNDS_IF_LARGE: usize = 3;

/// Chroma takes three minutes to write these.
const LARGEST_BY_CHROMA: u64 = 100_000;

/// Records per call of the rival's `get()`. More than 32,766 fail: "too many SQL variables".
const PAGES: [u64; 4] = [1_000, 5_000, 20_000, 30_000];

fn main() -> Result<()> {
    let sizes = env::var("PANOPTICON_BENCH_RECORDS").unwrap_or_else(|_| "10000,100000".to_owned());
    let sizes = sizes.split(',').map(|size| size.trim().parse());
    let sizes: Vec<u64> =
        sizes.collect::<Result<_, _>>().context("expected numbers of records in PANOPTICON_BENCH_RECORDS")?;
    let data_dir = match env::var_os("PANOPTICON_DATA_DIR") {
        Some(path) => DataDir::new(path),
        None => DataDir::platform_default()?,
    };
    let model = match env::var_os("PANOPTICON_MODEL_DIR") {
        Some(path) => path.into(),
        None => provision::ensure_model(&data_dir, &|line| eprintln!("{line}"))?,
    };
    let panopticon = Panopticon::find_or_build()?;
    let options = ServerOptions {
        binaries: data_dir,
        cluster: folder()?.join("migrate"),
        durability: Durability::Full,
        access: Access::Loopback,
    };
    let server = Server::start(&options, &|line| eprintln!("{line}"))?;
    let with_rivals = env::var("PANOPTICON_BENCH_RIVALS").map_or(Ok(true), |value| match value.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => bail!("PANOPTICON_BENCH_RIVALS is `{value}`: expected `on` or `off`"),
    })?;
    let mut rivals = with_rivals.then(Rivals::default);
    let mut reports = Vec::new();
    for size in sizes {
        let contest = Contest::prepare(&server, Contestant(&panopticon), size)?;
        let report = compare(&contest, size, &model, rivals.as_mut())?;
        contest.finish()?;
        targets::print_size(&report);
        reports.push(report);
    }
    server.release()?;
    let growth: Vec<Value> =
        reports.windows(2).map(|pair| targets::print_growth(&pair[0], &pair[1])).collect();
    write_report("migrate", &json!({ "sizes": reports, "growth": growth }))
}

/// Whether and how the contestants in Python run.
#[derive(Default)]
struct Rivals {
    /// The rival's fastest page size, from the last size of table that tried several.
    best_page: Option<u64>,
}

/// All rounds of one size; without `rivals`, only raw and ours.
fn compare(contest: &Contest<'_>, records: u64, model: &Path, rivals: Option<&mut Rivals>) -> Result<Value> {
    let mut by_page = Vec::new();
    let page = match rivals {
        // With many records, each try takes many minutes.
        Some(rivals) if rivals.best_page.is_none() || records <= LARGEST_BY_CHROMA => {
            for page in PAGES {
                let report = contest.rival(page)?;
                eprintln!("{records}: rival, page {page}: {report}");
                by_page.push((page, report["seconds"].as_f64().context("no `seconds`")?));
            }
            rivals.best_page = by_page.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(page, _)| *page);
            rivals.best_page
        }
        Some(rivals) => rivals.best_page,
        None => None,
    };

    let rounds = if records <= LARGEST_BY_CHROMA { ROUNDS } else { ROUNDS_IF_LARGE };
    let (mut raw, mut ours, mut rival, mut old) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let run = |who: &str, reports: &mut Vec<Value>, report: Result<Value>| -> Result<()> {
            let report = report?;
            eprintln!("{records}, round {round}: {who} {report}");
            reports.push(report);
            Ok(())
        };
        run("raw", &mut raw, contest.raw())?;
        run("ours", &mut ours, contest.ours())?;
        if let Some(page) = page
            && (records <= LARGEST_BY_CHROMA || round == 1)
        {
            run("rival", &mut rival, contest.rival(page))?;
            run("old", &mut old, contest.old(model))?;
        }
    }
    let medians = |reports: &[Value], fields: &[&str]| -> Value {
        fields.iter().map(|field| ((*field).to_owned(), json!(median(reports, field)))).collect()
    };
    let our_fields = [
        ["seconds", "scan", "copy", "index", "wall_s", "rss_mb"].as_slice(),
        &["verify_s", "verify_wall_s", "verify_rss_mb"],
    ];
    let summary = json!({
        "raw": medians(&raw, &["seconds"]), "ours": medians(&ours, &our_fields.concat()),
        "rival": medians(&rival, &["seconds", "get_s", "rss_mb"]), "old": medians(&old, &["rows", "seconds"]),
    });
    Ok(
        json!({ "records": records, "dimension": 384, "space": "l2", "rounds": rounds, "page": page, "pages": by_page,
        "medians": summary, "raw": raw, "ours": ours, "rival": rival, "old": old }),
    )
}
