//! What seldom happens, beside what happens at each request: polled when somebody has woken it, and else no more than a look
//! at a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// Stands before futures that a task would ask in vain most of the time.
pub(crate) struct Seldom {
    bell: Arc<Bell>,
    /// The bell's, for the futures.
    waker: Waker,
    /// Who is woken; as the bell has it.
    task: Option<Waker>,
}

struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Default for Seldom {
    fn default() -> Self {
        let bell = Arc::new(Bell {
            // Nobody wakes who was never polled.
            has_rung: AtomicBool::new(true),
            task: Mutex::new(None),
        });
        Self {
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            task: None,
        }
    }
}

impl Seldom {
    /// What to poll the futures with; none while none of them has woken the task.
    pub(crate) fn woken(&mut self, cx: &Context<'_>) -> Option<Context<'_>> {
        let task = self.task.as_ref();
        // A connection stays on its task, so no lock is taken here but the first time.
        if !task.is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            self.bell.wakes(cx.waker());
        }
        if !self.bell.has_rung.load(Ordering::Relaxed) {
            return None;
        }
        // Before the poll, or a word during it is missed; and read anew, so that the poll sees what the word is about.
        self.bell.has_rung.swap(false, Ordering::AcqRel);
        Some(Context::from_waker(&self.waker))
    }
}

impl Bell {
    fn wakes(&self, task: &Waker) {
        let former = self.task().replace(task.clone());
        drop(former);
    }

    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task is looked up: one that comes in between sees it.
        self.has_rung.store(true, Ordering::Release);
        // Not under the lock: who is woken may ask at once.
        let task = self.task().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
