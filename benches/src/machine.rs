//! The machine: one core for everything that is measured, and the CPU clocks of processes.
//!
//! Wake-ups across cores cost more than a request, so client and server share one core; CPU time
//! per request then hardly depends on what else the machine does.

use std::time::Duration;

use crate::error::BenchError;

/// What a reader must know to judge the numbers.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Operating system and kernel.
    pub(crate) kernel: String,
    /// The processor.
    pub(crate) processor: String,
}

impl Facts {
    /// Reads them. What cannot be read is called unknown.
    pub(crate) fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: match release.trim() {
                "" => format!("{} (kernel unknown)", std::env::consts::OS),
                release => format!("{} {release}", std::env::consts::OS),
            },
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
        }
    }
}

/// The CPU time that a process has used up to now, all its threads together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(platform::Clock);

impl CpuClock {
    /// The clock of a process; `None` is this one.
    pub(crate) fn of(pid: Option<u32>) -> Result<Self, BenchError> {
        platform::clock(pid).map(Self)
    }

    pub(crate) fn now(self) -> Result<Duration, BenchError> {
        platform::read(self.0)
    }
}

/// Keeps this thread, and every thread and process that it starts from now on, on one core.
/// Returns its number.
pub(crate) fn pin() -> Result<usize, BenchError> {
    platform::pin()
}

/// As long as it lives, this thread has all cores but the one that it was pinned to; then that one again.
#[derive(Debug)]
pub(crate) struct Elsewhere(platform::Set);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        platform::set(&self.0);
    }
}

/// Lets threads and processes that start from now on have the other cores.
pub(crate) fn elsewhere() -> Result<Elsewhere, BenchError> {
    platform::leave().map(Elsewhere)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::time::Duration;

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::time::{ClockId, clock_getcpuclockid};
    use nix::unistd::Pid;

    use crate::error::BenchError;

    pub(super) type Clock = ClockId;
    pub(super) type Set = CpuSet;

    const THIS_THREAD: Pid = Pid::from_raw(0);

    fn failed(what: &str, error: nix::Error) -> BenchError {
        BenchError::Machine(format!("{what}: {error}"))
    }

    pub(super) fn pin() -> Result<usize, BenchError> {
        let allowed =
            sched_getaffinity(THIS_THREAD).map_err(|error| failed("sched_getaffinity", error))?;
        // The last core: interrupts and whatever starts first prefer the first.
        let core = (0..CpuSet::count())
            .rev()
            .find(|core| allowed.is_set(*core).unwrap_or(false))
            .ok_or_else(|| BenchError::Machine("no core is allowed to us".to_owned()))?;
        let mut only = CpuSet::new();
        only.set(core)
            .and_then(|()| sched_setaffinity(THIS_THREAD, &only))
            .map_err(|error| failed("sched_setaffinity", error))?;
        Ok(core)
    }

    /// Leaves the core of this thread for all others, and returns it.
    pub(super) fn leave() -> Result<Set, BenchError> {
        let here =
            sched_getaffinity(THIS_THREAD).map_err(|error| failed("sched_getaffinity", error))?;
        let mut others = CpuSet::new();
        for core in 0..CpuSet::count() {
            if !here.is_set(core).unwrap_or(false) {
                others.set(core).map_err(|error| failed("CPU_SET", error))?;
            }
        }
        sched_setaffinity(THIS_THREAD, &others).map_err(|error| {
            failed("there is no core beside the one that is measured on", error)
        })?;
        Ok(here)
    }

    pub(super) fn set(cores: &Set) {
        // It was allowed to be there before.
        let _ = sched_setaffinity(THIS_THREAD, cores);
    }

    pub(super) fn clock(pid: Option<u32>) -> Result<Clock, BenchError> {
        let Some(pid) = pid else {
            return Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        };
        let pid = i32::try_from(pid).map_err(|error| BenchError::Machine(error.to_string()))?;
        clock_getcpuclockid(Pid::from_raw(pid))
            .map_err(|error| failed("clock_getcpuclockid", error))
    }

    pub(super) fn read(clock: Clock) -> Result<Duration, BenchError> {
        clock
            .now()
            .map(Duration::from)
            .map_err(|error| failed("clock_gettime", error))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::time::Duration;

    use crate::error::BenchError;

    pub(super) type Clock = ();
    pub(super) type Set = ();

    fn elsewhere() -> BenchError {
        BenchError::Machine("pinning and CPU clocks are done on Linux only".to_owned())
    }

    pub(super) fn pin() -> Result<usize, BenchError> {
        Err(elsewhere())
    }

    pub(super) fn leave() -> Result<Set, BenchError> {
        Err(elsewhere())
    }

    pub(super) fn set((): &Set) {}

    pub(super) fn clock(_: Option<u32>) -> Result<Clock, BenchError> {
        Err(elsewhere())
    }

    pub(super) fn read((): Clock) -> Result<Duration, BenchError> {
        Err(elsewhere())
    }
}
