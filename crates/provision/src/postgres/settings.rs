//! Server settings for this machine, derived from its memory.

use std::{fs, path::Path};

use rustix::process::{Resource, getrlimit};

const MIB: u64 = 1 << 20;

/// Whether commits survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// They do. Required for all data that matters.
    Full,
    /// They do not: for tests, whose data is discarded and whose time would mostly be fsync. Autovacuum does not run
    /// within a day either, so that the contents of tables do not depend on its timing. Shared buffers are few:
    /// PostgreSQL looks through all of them whenever a database is dropped, which is 40 ms with 6 GB and 9 ms with 128 MB.
    None,
}

/// Memory available to PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The least of the machine's memory, the container's, and the limit of a process (`ulimit -v`).
    pub(crate) total_bytes: u64,
    /// Size of `/dev/shm`, which parallel index builds use; containers often have only 64 MiB.
    pub(crate) shared_bytes: u64,
}

impl Memory {
    /// Reads the memory of this machine or container.
    pub(crate) fn of_this_machine() -> Self {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_total(&text));
        let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .iter()
            .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        // 2 GiB if it is unknown (macOS): small settings work everywhere.
        let process = getrlimit(Resource::As).current;
        let total_bytes = machine.unwrap_or(2048 * MIB);
        let total_bytes = total_bytes.min(container.unwrap_or(u64::MAX)).min(process.unwrap_or(u64::MAX));
        let shared_bytes = rustix::fs::statvfs(Path::new("/dev/shm"))
            .map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
        Self { total_bytes, shared_bytes }
    }
}

/// The settings, as `postgresql.conf` lines. The usual guidance: a quarter of memory for shared buffers, a
/// sixteenth for index builds, and planner costs for solid-state disks.
///
/// With a folder for its socket, the server listens only there; without, on a port of 127.0.0.1.
pub(crate) fn settings(memory: Memory, durability: Durability, socket_folder: Option<&Path>) -> String {
    let (addresses, folder) = match socket_folder {
        Some(folder) => (String::new(), folder.display().to_string()),
        None => ("127.0.0.1".to_owned(), String::new()),
    };
    let share = |divisor: u64, least: u64, most: u64| (memory.total_bytes / divisor / MIB).clamp(least, most);
    let maintenance_mib = share(16, 64, 2048);
    let buffers_mib = if durability == Durability::None { 128 } else { share(4, 128, 8192) };
    let mut lines = vec![
        format!("listen_addresses = '{addresses}'"),
        format!("unix_socket_directories = '{folder}'"),
        "unix_socket_permissions = 0700".to_owned(),
        "password_encryption = 'scram-sha-256'".to_owned(),
        "timezone = 'UTC'".to_owned(),
        "log_timezone = 'UTC'".to_owned(),
        format!("shared_buffers = '{buffers_mib}MB'"),
        format!("effective_cache_size = '{}MB'", share(2, 256, 65536)),
        format!("maintenance_work_mem = '{maintenance_mib}MB'"),
        format!("work_mem = '{}MB'", share(256, 4, 64)),
        format!("max_wal_size = '{}MB'", share(4, 1024, 8192)),
        "random_page_cost = 1.1".to_owned(),
        "jit = off".to_owned(),
    ];
    if memory.shared_bytes < 2 * maintenance_mib * MIB {
        // A parallel vector index build keeps its graph there and fails ("No space left on device") otherwise.
        lines.push("dynamic_shared_memory_type = 'mmap'".to_owned());
    }
    if durability == Durability::None {
        let unsafe_but_fast = ["fsync = off", "synchronous_commit = off", "full_page_writes = off"];
        lines.extend(unsafe_but_fast.map(String::from));
        lines.push("autovacuum_naptime = '1d'".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// `MemTotal` of proc_meminfo(5), in bytes.
fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(total_mib: u64, shared_mib: u64, durability: Durability, expected: &Expect) {
        let memory = Memory { total_bytes: total_mib * MIB, shared_bytes: shared_mib * MIB };
        let settings = settings(memory, durability, None);
        let varying: Vec<&str> = settings.lines().skip(6).collect();
        expected.assert_eq(&varying.join("; "));
    }

    #[test]
    fn settings_follow_memory_and_stay_within_bounds() {
        check(
            24 * 1024,
            12 * 1024,
            Durability::Full,
            &expect![[
                r#"shared_buffers = '6144MB'; effective_cache_size = '12288MB'; maintenance_work_mem = '1536MB'; work_mem = '64MB'; max_wal_size = '6144MB'; random_page_cost = 1.1; jit = off"#
            ]],
        );
        check(
            512,
            64,
            Durability::Full,
            &expect![[
                r#"shared_buffers = '128MB'; effective_cache_size = '256MB'; maintenance_work_mem = '64MB'; work_mem = '4MB'; max_wal_size = '1024MB'; random_page_cost = 1.1; jit = off; dynamic_shared_memory_type = 'mmap'"#
            ]],
        );
        check(
            2048,
            1024,
            Durability::None,
            &expect![[
                r#"shared_buffers = '128MB'; effective_cache_size = '1024MB'; maintenance_work_mem = '128MB'; work_mem = '8MB'; max_wal_size = '1024MB'; random_page_cost = 1.1; jit = off; fsync = off; synchronous_commit = off; full_page_writes = off; autovacuum_naptime = '1d'"#
            ]],
        );
    }

    #[test]
    fn meminfo_without_a_valid_total_has_none() {
        assert_eq!(meminfo_total("MemTotal:       24000000 kB\nMemFree: 1 kB\n"), Some(24_576_000_000));
        assert_eq!(meminfo_total("MemFree: 1 kB\n"), None);
        assert_eq!(meminfo_total("MemTotal: lots kB\n"), None);
    }
}
