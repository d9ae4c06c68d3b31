//! A database with a full disk: a real file system of the size that a test needs.

use std::{
    fs::{self, File, Metadata},
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::{
    database::execute,
    postgres_server::PostgresServer,
    process::{Guard, passable_folder, run},
    skip,
};

const MIB: u64 = 1 << 20;

/// If mounting is not allowed, a shared memory file system of at most this size is filled instead. Containers have one of
/// 64 MiB; on other systems it is half of the machine's memory, which filling it would use.
const MAX_BALLAST: u64 = 256 * MIB;

/// A database of a [`PostgresServer`] whose tables and indexes are in a tablespace of a few MiB. Beyond that,
/// PostgreSQL fails with `No space left on device` (SQLSTATE 53100). Temporary tables and the write-ahead log are outside of
/// it. The space is removed when this value is dropped, before or after the server, and when the test is killed.
pub struct SmallTablespace {
    url: String,
    name: String,
    size_mib: u32,
    space: Space,
    guard: Option<Guard>,
}

/// The limit of the tablespace, which is the folder `space` in a temporary folder.
enum Space {
    /// A separate file system is mounted there.
    Mounted(TempDir),
    /// The file `ballast` next to it fills an existing file system.
    Filled(TempDir),
}

impl SmallTablespace {
    /// Creates the database `name` with `size_mib` of space. A skip and `None` if no file system can be mounted, which
    /// requires root, and `/dev/shm` is too large to fill.
    pub async fn create(server: &PostgresServer, name: &str, size_mib: u32) -> Option<Self> {
        let owner = fs::metadata(server.data()).expect("a server has its cluster");
        let space = Space::mount(size_mib, &owner).or_else(|no_mount| {
            Space::fill_up(size_mib, &owner).map_err(|not_filled| format!("{no_mount}; {not_filled}"))
        });
        let space = match space {
            Ok(space) => space,
            Err(reasons) => {
                skip(&format!("needs a full disk: {reasons}"));
                return None;
            }
        };
        // A server keeps its open files; the folder is free immediately.
        let script = r#"umount -l "$1/space"; rm -rf "$1""#;
        let guard = Some(Guard::new(script, &[space.folder().as_os_str()]));
        let location = space.tablespace();
        let space = Self { url: server.url_of(name), name: name.to_owned(), size_mib, space, guard };
        server.execute(&format!("create tablespace small_{name} location '{}'", location.display())).await;
        server.execute(&format!("create database {name}")).await;
        server.execute(&format!("alter database {name} set default_tablespace = small_{name}")).await;
        Some(space)
    }

    /// The database's `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Inserts rows until no further page fits, into a table `filling`, which nothing else uses.
    pub async fn fill(&self) {
        let mut connection = PgConnection::connect(&self.url).await.expect("the database answers");
        let name = &self.name;
        let create = format!("create table if not exists filling (n int) tablespace small_{name}");
        connection.execute(AssertSqlSafe(create)).await.expect("there is space for an empty table");
        // The server extends a file by many pages at once, and by fewer if those do not fit.
        for rows in [1_000_000, 10_000, 200] {
            let insert = format!("insert into filling select generate_series(1, {rows})");
            let error = loop {
                if let Err(error) = connection.execute(AssertSqlSafe(insert.as_str())).await {
                    break error;
                }
            };
            let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
            assert_eq!(code.as_deref(), Some("53100"), "{error}");
        }
    }

    /// Runs statements in the database.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// The tablespace's name.
    pub fn tablespace_name(&self) -> String {
        format!("small_{}", self.name)
    }

    /// Makes the space larger, as an administrator would, under the running server.
    pub fn grow(&mut self, size_mib: u32) {
        assert!(size_mib > self.size_mib, "{size_mib} MiB is more than {}", self.size_mib);
        match &self.space {
            Space::Mounted(_) => {
                let option = format!("remount,size={size_mib}m");
                let remounted = run(Command::new("mount").args(["-o", &option]).arg(self.space.tablespace()));
                remounted.expect("a mounted file system can be remounted");
            }
            Space::Filled(folder) => {
                let ballast = File::options().write(true).open(ballast(folder)).expect("the ballast opens");
                let length = ballast.metadata().expect("the ballast has a length").len();
                let more = u64::from(size_mib - self.size_mib) * MIB;
                ballast.set_len(length.saturating_sub(more)).expect("the ballast can be cut");
            }
        }
        self.size_mib = size_mib;
    }
}

impl Drop for SmallTablespace {
    fn drop(&mut self) {
        if let Space::Mounted(_) = self.space
            && let Err(error) = run(Command::new("umount").arg("-l").arg(self.space.tablespace()))
        {
            println!("a small file system was left behind: {error}");
        }
        if let Some(guard) = self.guard.take() {
            guard.release();
        }
    }
}

impl Space {
    fn mount(size_mib: u32, owner: &Metadata) -> Result<Self, String> {
        let folder = passable_folder(&std::env::temp_dir()).map_err(|error| error.to_string())?;
        let space = Self::Mounted(folder);
        fs::create_dir(space.tablespace()).map_err(|error| error.to_string())?;
        let options = format!("size={size_mib}m,mode=0700,uid={},gid={}", owner.uid(), owner.gid());
        let mut command = Command::new("mount");
        run(command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(space.tablespace()))?;
        Ok(space)
    }

    fn fill_up(size_mib: u32, owner: &Metadata) -> Result<Self, String> {
        let shared_memory = Path::new("/dev/shm");
        let all = statvfs(shared_memory).map_err(|error| format!("/dev/shm: {error}"))?;
        let (total, available) = (all.f_blocks * all.f_frsize, all.f_bavail * all.f_frsize);
        let size = u64::from(size_mib) * MIB;
        if total > MAX_BALLAST || available <= size {
            return Err(format!("/dev/shm has {} MiB, {} free", total / MIB, available / MIB));
        }
        let folder = passable_folder(shared_memory).map_err(|error| error.to_string())?;
        let ballast = File::create(ballast(&folder)).map_err(|error| error.to_string())?;
        let space = Self::Filled(folder);
        fs::create_dir(space.tablespace()).map_err(|error| error.to_string())?;
        chown(space.tablespace(), Some(owner.uid()), Some(owner.gid())).map_err(|error| error.to_string())?;
        fallocate(&ballast, FallocateFlags::empty(), 0, available - size)
            .map_err(|error| error.to_string())?;
        Ok(space)
    }

    fn folder(&self) -> &Path {
        let (Self::Mounted(folder) | Self::Filled(folder)) = self;
        folder.path()
    }

    fn tablespace(&self) -> PathBuf {
        self.folder().join("space")
    }
}

fn ballast(folder: &TempDir) -> PathBuf {
    folder.path().join("ballast")
}
