//! The tasks beside the actors that nobody asks and nobody waits for: what has to be done now and then, and the chores of sign-in. Futures with
//! names go in; which of them panicked comes out, so that none is missed in silence. As many as the composition root starts, and no more.

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub(super) struct Tasks {
    runtime: Handle,
    running: Vec<(&'static str, JoinHandle<()>)>,
}

impl Tasks {
    pub(super) fn new(runtime: &Handle) -> Self {
        Self { runtime: runtime.clone(), running: Vec::new() }
    }

    pub(super) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push((name, self.runtime.spawn(task)));
    }

    /// A task that panicked, told once. One that came to its end has done what it had to.
    pub(super) fn lost(&mut self) -> Option<&'static str> {
        let mut lost = None;
        self.running.retain_mut(|(name, running)| match running.now_or_never() {
            None => true,
            Some(ended) => {
                lost = ended.is_err_and(|error| error.is_panic()).then_some(*name).or(lost);
                false
            }
        });
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_of_once_and_one_that_ends_or_runs_is_not() {
        let mut tasks = Tasks::new(&Handle::current());
        tasks.start("ends", async {});
        tasks.start("panics", async { std::panic::resume_unwind(Box::new("planted")) });
        tasks.start("runs", std::future::pending());
        let mut told = Vec::new();
        while tasks.running.len() > 1 {
            tokio::task::yield_now().await;
            told.extend(tasks.lost());
        }

        assert_eq!(told, ["panics"]);
        assert_eq!(tasks.running[0].0, "runs");
        assert_eq!(tasks.lost(), None);
    }
}
