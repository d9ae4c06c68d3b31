//! A real, empty PostgreSQL database for each test, on a server shared by all tests of a user.

use std::{
    cell::RefCell,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use provision::{Access, Durability, Server, ServerOptions};
use records::Service;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::postgres::Database;
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

use crate::data_dir;

/// The server of this process; it stops when its last database is dropped, unless another process uses it.
static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// What [`TestDatabase::prepared`] copies, which is many times faster than creating the extension and migrating.
static PREPARED: Template = Template::new();

/// The same for [`TestDatabase::serving`].
static SERVING: Template = Template::new();

/// Databases of failed tests are kept this long for examination.
const KEPT_SECONDS: u64 = 3600;

const SHARED_MEMORY: &str = "/dev/shm";
/// Several times what a test run needs, with the databases of failed tests.
const NEEDED_BYTES: u64 = 8 << 30;

thread_local! {
    /// Databases that this thread's test no longer needs. They are dropped with the thread, after the test's runtime and its
    /// connections: PostgreSQL drops a database only after each of its processes has agreed, and a process that waits for a
    /// password agrees only when it has it, or after its `authentication_timeout` of a minute. A test that waited for the drop
    /// would not answer its own connections, and would delay all other tests that drop databases.
    static DONE: RefCell<Vec<DoneDatabase>> = const { RefCell::new(Vec::new()) };
}

/// A separate database for one test: a database, not a schema, since the extension `vector` and advisory locks are
/// per-database. Dropped with the thread that has dropped this value; kept if the test fails.
pub struct TestDatabase {
    name: String,
    server: Arc<Server>,
}

/// A database that tests of this process copy, created by the first of them. It is removed like the database of a failed
/// test.
pub struct Template(OnceCell<String>);

impl Template {
    /// A template that is not created yet.
    #[expect(clippy::new_without_default, reason = "it is made for statics")]
    pub const fn new() -> Self {
        Self(OnceCell::const_new())
    }
}

impl TestDatabase {
    /// Creates an empty database: no extension, no tables.
    pub async fn create() -> Self {
        Self::create_as("").await
    }

    /// The same with `options` of `create database`, such as an encoding.
    pub async fn create_as(options: &str) -> Self {
        let server = tokio::task::spawn_blocking(server).await.expect("starting the server does not panic");
        let name = unused_name();
        execute(&server.url(), &format!("create database {name} {options}")).await;
        Self { name, server }
    }

    /// Creates a database with the extension and the current schema of the services and of upkeep, as
    /// [`Database::prepare_schema`] makes it.
    pub async fn prepared() -> Self {
        Self::filled(&PREPARED, prepare).await
    }

    /// The same with the indexes of all services, as `panopticon serve` makes them.
    pub async fn serving() -> Self {
        let prepare = async |database: &Database| {
            for service in Service::ALL {
                database.prepare_service(service).await.expect("the schema and the indexes are created");
            }
        };
        Self::filled(&SERVING, prepare).await
    }

    /// Creates a copy of `template`, which is a database after `fill`.
    pub async fn filled(template: &Template, fill: impl AsyncFnOnce(&Database)) -> Self {
        let server = tokio::task::spawn_blocking(server).await.expect("starting the server does not panic");
        let template = filled_template(&server, template, fill).await;
        Self { name: copy(&server, template).await, server }
    }

    /// Creates a copy of `template`, which is a [`Self::prepared`] database after `statements`.
    pub async fn copy_of(template: &Template, statements: &str) -> Self {
        let server = tokio::task::spawn_blocking(server).await.expect("starting the server does not panic");
        let fill = async || {
            let name = copy(&server, filled_template(&server, &PREPARED, prepare).await).await;
            execute(&server.url_of(&name), statements).await;
            name
        };
        let template = template.0.get_or_init(fill).await;
        Self { name: copy(&server, template).await, server }
    }

    /// Its `DATABASE_URL`.
    pub fn url(&self) -> String {
        self.server.url_of(&self.name)
    }

    /// A connection to it.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("the test database answers")
    }

    /// Runs statements in it.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }

    /// The texts that a statement returns.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = self.connection().await;
        let texts = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        texts.expect("the statement runs")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the failed test's database is kept: {}", self.name);
            return;
        }
        let done = DoneDatabase { name: self.name.clone(), server: Arc::clone(&self.server) };
        // If the thread is ending already, the database is dropped immediately.
        let _ = DONE.try_with(|all| all.borrow_mut().push(done));
    }
}

/// Drops its database when it is dropped.
struct DoneDatabase {
    name: String,
    server: Arc<Server>,
}

impl Drop for DoneDatabase {
    fn drop(&mut self) {
        let (url, name) = (self.server.url(), self.name.clone());
        // A destructor is not async and may run inside a runtime, so the statement runs on a separate thread.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .expect("a runtime starts")
                .block_on(execute(&url, &format!("drop database if exists {name} with (force)")));
        })
        .join();
        if dropped.is_err() {
            println!("the test's database {} could not be dropped", self.name);
        }
    }
}

async fn prepare(database: &Database) {
    database.prepare_schema().await.expect("the schema is created");
}

async fn filled_template<'t>(
    server: &Server,
    template: &'t Template,
    fill: impl AsyncFnOnce(&Database),
) -> &'t str {
    let create = async || {
        let name = unused_name();
        execute(&server.url(), &format!("create database {name}")).await;
        let database = Database::connect(&server.url_of(&name)).await.expect("the template answers");
        fill(&database).await;
        // A database that is in use cannot be copied.
        database.close().await;
        name
    };
    template.0.get_or_init(create).await
}

/// Copies a database and returns the name of the copy. Its files are copied, which takes half the processor time of writing
/// each of their pages to the write-ahead log.
async fn copy(server: &Server, template: &str) -> String {
    let name = unused_name();
    execute(&server.url(), &format!("create database {name} template {template} strategy file_copy")).await;
    name
}

fn unused_name() -> String {
    format!("test_{}_{}", seconds_since_epoch(), Uuid::new_v4().simple())
}

fn server() -> Arc<Server> {
    let mut shared = SERVER.lock().expect("no holder panics");
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let user = std::env::var("USER").unwrap_or_default();
    let options = ServerOptions {
        binaries: data_dir(),
        cluster: folder_of_cluster().join(format!("panopticon-tests-{user}")),
        durability: Durability::None,
        access: Access::Loopback,
    };
    let server =
        Arc::new(Server::start(&options, &|line| println!("{line}")).expect("the test server starts"));
    *shared = Arc::downgrade(&server);
    let url = server.url();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(async {
            make_login_cheap(&url).await;
            sweep(&url).await;
        });
    })
    .join()
    .expect("the server can be made ready for tests");
    server
}

/// Shared memory where it has room, otherwise the folder of temporary files: ext4 took a quarter of the processor time of the
/// storage's tests to look for inodes that were not deleted in the last seconds, as the copies of the templates are.
fn folder_of_cluster() -> PathBuf {
    let has_room = rustix::fs::statvfs(SHARED_MEMORY)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= NEEDED_BYTES);
    if has_room { SHARED_MEMORY.into() } else { std::env::temp_dir() }
}

/// Makes a login derive its key from the password by one hash instead of 4,096, which took a third of the CPU time of a test
/// run in a debug build. This is safe, because the password is random. PostgreSQL has the setting since 16.
async fn make_login_cheap(url: &str) {
    let url_with_password = Url::parse(url).expect("a server's URL is one");
    let password = url_with_password.password().expect("its role has a password");
    let statement = format!(
        "do $do$ begin
            if current_setting('server_version_num')::int >= 160000 then
                -- Test runs may start at the same time.
                perform pg_advisory_xact_lock(hashtext('password of tests'));
                if exists (
                    select from pg_authid
                    where rolname = current_user and not starts_with(rolpassword, 'SCRAM-SHA-256$1:')
                ) then
                    perform set_config('scram_iterations', '1', true);
                    execute format('alter role current_user password %L', '{password}');
                end if;
            end if;
        end $do$"
    );
    execute(url, &statement).await;
}

/// Drops expired databases of failed tests.
async fn sweep(url: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the test server answers");
    let names: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where datname like 'test\\_%'")
            .fetch_all(&mut connection)
            .await
            .expect("databases can be listed");
    let oldest_kept = seconds_since_epoch() - KEPT_SECONDS;
    for name in names {
        let created = name.split('_').nth(1).and_then(|seconds| seconds.parse::<u64>().ok());
        if created.is_some_and(|created| created < oldest_kept) {
            execute(url, &format!("drop database if exists {name} with (force)")).await;
        }
    }
}

pub(crate) async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the statement runs");
}

fn seconds_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}
