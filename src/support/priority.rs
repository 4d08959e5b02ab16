//! Which threads give way when the processors are busy: those that hash passwords, apply and tell.

use rustix::process::{getpriority_process, setpriority_process};

/// Between two threads that want the same processor this one gets about a tenth.
const NICENESS: i32 = 10;

/// From now on the calling thread gives way to all that have not said so: its work takes so long that a little more is not felt, or more of it is
/// done at once the later it is done.
pub fn give_way() {
    // On Linux both are of the calling thread only. Where it is refused the thread is merely less polite.
    let given = getpriority_process(None).and_then(|before| setpriority_process(None, before.max(NICENESS)));
    if let Err(error) = given {
        tracing::debug!(%error, "a thread in the background runs at the priority of all others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_says_so_gives_way() {
        let niceness = || getpriority_process(None).expect("a priority");
        let before = niceness();

        let behind = std::thread::spawn(move || {
            give_way();
            niceness()
        });

        assert_eq!(behind.join().expect("ends"), before.max(NICENESS));
        assert_eq!(niceness(), before);
    }
}
