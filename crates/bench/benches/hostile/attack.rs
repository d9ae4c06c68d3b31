//! The attack: all bombs at once, and connections that are only held.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    PORT,
    bombs::{self, Bomb},
};

/// Between two connections of a client, and between two looks at one.
const PAUSE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_secs(1);
/// `HTTP/1.1 200`.
const STATUS_LENGTH: usize = 12;

/// All requests and connections of the attack.
pub(crate) struct Attack {
    pub(crate) time: Duration,
    tasks: JoinSet<Result<()>>,
    answers: Answers,
}

/// How often each attack was answered in each way. Shared by the tasks that attack.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<BTreeMap<String, Counts>>>);

/// Numbers of answers, by their status or by what else became of a request.
type Counts = BTreeMap<String, u64>;

impl Answers {
    fn count(&self, attack: &str, answer: &str) {
        let mut counted = self.0.lock().expect("no holder panics");
        *counted.entry(attack.to_owned()).or_default().entry(answer.to_owned()).or_default() += 1;
    }
}

/// The bombs that are wanted, and how to tell whether connections are held.
fn chosen() -> (Vec<Bomb>, impl Fn(&str) -> bool) {
    // Without the variable, the attacks on queries; of a name that is not Unicode, what it has in common with one.
    let chosen = env::var_os("PANOPTICON_BENCH_ATTACKS").unwrap_or_default().to_string_lossy().into_owned();
    let mut bombs = if chosen.is_empty() { bombs::on_queries() } else { bombs::all() };
    let names: Vec<String> = chosen.split(',').filter(|name| *name != "all").map(str::to_owned).collect();
    // The empty name is in all.
    let is_wanted = move |attack: &str| names.is_empty() || names.iter().any(|name| attack.contains(name));
    bombs.retain(|bomb| is_wanted(&bomb.name));
    (bombs, is_wanted)
}

impl Attack {
    /// Begins; `watched` is the id of a run that stays under way.
    pub(crate) fn begin(time: Duration, watched: &str) -> Self {
        let (mut tasks, answers) = (JoinSet::new(), Answers::default());
        let (bombs, is_wanted) = chosen();
        for bomb in bombs {
            for _ in 0..bomb.clients {
                tasks.spawn(throw(bomb.clone(), time, answers.clone()));
            }
        }
        let host = "HTTP/1.1\r\nhost: localhost\r\n";
        let get = |path: &str| Held::Unread(format!("GET /api/v1/{path} {host}\r\n"));
        let body = format!(
            "POST /api/v1/queries {host}content-type: application/json\r\ncontent-length: 16000000\r\n\r\n{{"
        );
        for (name, held, connections) in [
            ("unread export", get("queries/export?theme=big"), 30),
            ("unread list", get("queries?theme=big&limit=10"), 30),
            ("unread events", get(&format!("runs/{watched}/events")), 60),
            ("incomplete head", Held::Incomplete(format!("GET /api/v1/queries {host}")), 100),
            ("incomplete body", Held::Incomplete(body), 30),
            ("idle connection", Held::Incomplete(String::new()), 200),
        ] {
            if !is_wanted(name) {
                continue;
            }
            for _ in 0..connections {
                tasks.spawn(hold(name, held.clone(), time, answers.clone()));
            }
        }
        Self { time, tasks, answers }
    }

    /// Ends; returns how each attack was answered.
    pub(crate) async fn end(mut self) -> BTreeMap<String, Counts> {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.answers.0.lock().expect("no holder panics").clone()
    }
}

/// Sends the bomb again whenever it is answered.
async fn throw(bomb: Bomb, time: Duration, answers: Answers) -> Result<()> {
    let began = Instant::now();
    let client = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(1)).build()?;
    let address = format!("http://127.0.0.1:{PORT}");
    while began.elapsed() < time {
        let answer = match bomb.request(&client, &address).send().await {
            Ok(mut answer) => loop {
                match answer.chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break answer.status().as_u16().to_string(),
                    Err(_) => break format!("{}, cut", answer.status().as_u16()),
                }
            },
            Err(_) => "no answer".to_owned(),
        };
        answers.count(&bomb.name, &answer);
        sleep(bomb.pause).await;
    }
    Ok(())
}

/// What is sent on a connection that is then held.
#[derive(Clone, Debug)]
enum Held {
    /// A request of whose answer only the status is read.
    Unread(String),
    /// Less than a request.
    Incomplete(String),
}

/// Opens a connection and sends what is to be held, again when the service has closed it.
async fn hold(name: &str, held: Held, time: Duration, answers: Answers) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        let left = || time.saturating_sub(began.elapsed());
        let answer = match socket.connect(([127, 0, 0, 1], PORT).into()).await {
            Ok(mut stream) => {
                let answer = begun(&mut stream, &held, left()).await;
                answers.count(name, &answer);
                closed(&stream, left()).await;
                sleep(PAUSE).await;
                continue;
            }
            Err(_) => "no connection",
        };
        answers.count(name, answer);
        sleep(PAUSE).await;
    }
    Ok(())
}

/// How the service answers what is sent.
async fn begun(stream: &mut TcpStream, held: &Held, time: Duration) -> String {
    let (Held::Unread(request) | Held::Incomplete(request)) = held;
    if stream.write_all(request.as_bytes()).await.is_err() {
        return "closed".to_owned();
    }
    if matches!(held, Held::Incomplete(_)) {
        return "held".to_owned();
    }
    let mut status = [0; STATUS_LENGTH];
    match timeout(time, stream.read_exact(&mut status)).await {
        Ok(Ok(_)) => String::from_utf8_lossy(&status[STATUS_LENGTH - 3..]).into_owned(),
        Ok(Err(_)) => "closed".to_owned(),
        Err(_) => "no answer".to_owned(),
    }
}

/// Waits until the other side has closed, without reading.
async fn closed(stream: &TcpStream, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(LOOK).await;
        if stream.take_error().ok().flatten().is_some() || stream.try_write(b"").is_err() {
            return;
        }
    }
}
