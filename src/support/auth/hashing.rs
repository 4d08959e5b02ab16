//! Password hashing on a bounded pool: argon2id, PHC strings.
//!
//! A password in, a hash or a verdict out. At most as many threads as cores, each with 19 MiB while it works, at a lower
//! priority than the rest of the server. Full, or waiting too long: `Busy` with the wait that we expect. A caller who leaves
//! takes his job with him. Work for an unknown user takes as long as for a known one ([`HashingPool::verify`] with `None`).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

use crate::support::priority;

/// The parameters of OWASP's password storage cheat sheet: 19 MiB, two passes, one lane.
pub const MEMORY_KIB: u32 = 19_456;
pub const PASSES: u32 = 2;
pub const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// What a hash costs before one was measured.
const FIRST_COST: Duration = Duration::from_millis(30);
/// The weight of the newest measurement in the moving mean, as a divisor.
const COST_SMOOTHING: u32 = 8;

/// The bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct HashingLimits {
    pub threads: usize,
    /// Jobs that may wait.
    pub queue_max: usize,
    /// A job that has waited so long is given up: its caller should have an answer while he still waits for it.
    pub wait_max: Duration,
    pub memory_kib: u32,
}

impl Default for HashingLimits {
    /// A thread a core; a queue of what those do in about two seconds.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { threads, queue_max: threads * 64, wait_max: Duration::from_secs(3), memory_kib: MEMORY_KIB }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    #[error("too many passwords wait to be hashed; expect {} ms", expected_wait.as_millis())]
    Busy { expected_wait: Duration },
    #[error("the hashing pool has stopped")]
    Stopped,
    #[error("the parameters of the password hash are not acceptable")]
    Parameters(#[source] argon2::Error),
    #[error("could not hash a password")]
    Hash(#[source] argon2::password_hash::Error),
    #[error("the system has no randomness")]
    Randomness,
    #[error("could not start a hashing thread")]
    Thread(#[source] std::io::Error),
}

/// What a stored hash says of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `needs_rehash`: the hash was made with weaker parameters than those of now.
    Right {
        needs_rehash: bool,
    },
    Wrong,
}

enum Work {
    Hash { password: String, answer: oneshot::Sender<Result<String, HashingError>> },
    Verify { password: String, stored: Option<String>, answer: oneshot::Sender<Result<Verdict, HashingError>> },
}

struct Job {
    work: Work,
    queued_at: Instant,
}

struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
    /// The moving mean of what one job takes.
    cost: Duration,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    limits: HashingLimits,
    argon2: Argon2<'static>,
    /// What the password of an unknown user is compared with.
    dummy: String,
}

/// The pool. Dropping it ends its threads after the job in hand; those who wait get `Stopped`.
pub struct HashingPool {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl HashingPool {
    /// Starts the threads.
    pub fn start(limits: HashingLimits) -> Result<Self, HashingError> {
        let params = Params::new(limits.memory_kib, PASSES, LANES, None).map_err(HashingError::Parameters)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, "nobody has this password, since nobody has this account")?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs: VecDeque::new(), stopped: false, cost: FIRST_COST }),
            ready: Condvar::new(),
            limits,
            argon2,
            dummy,
        });
        let mut pool = Self { shared, threads: Vec::with_capacity(limits.threads) };
        for number in 0..limits.threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let started = thread::Builder::new().name(format!("hashing-{number}")).spawn(move || shared.run());
            pool.threads.push(started.map_err(HashingError::Thread)?);
        }
        Ok(pool)
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: String) -> Result<String, HashingError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Work::Hash { password, answer })?;
        answered.await.map_err(|_error| HashingError::Stopped)?
    }

    /// Compares a password with a stored hash. `None`, for an account that does not exist or has no password, takes the same
    /// time and is always wrong.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<Verdict, HashingError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Work::Verify { password, stored, answer })?;
        answered.await.map_err(|_error| HashingError::Stopped)?
    }

    /// Jobs that wait now.
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    fn submit(&self, work: Work) -> Result<(), HashingError> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        if queue.stopped {
            return Err(HashingError::Stopped);
        }
        let expected_wait = shared.expected_wait(&queue);
        if queue.jobs.len() >= shared.limits.queue_max || expected_wait > shared.limits.wait_max {
            return Err(HashingError::Busy { expected_wait });
        }
        queue.jobs.push_back(Job { work, queued_at: Instant::now() });
        shared.ready.notify_one();
        Ok(())
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        {
            let mut queue = self.shared.lock();
            queue.stopped = true;
            queue.jobs.clear();
        }
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to end.
            drop(thread.join());
        }
    }
}

impl Shared {
    /// The queue holds plain values: a panic elsewhere does not make them wrong.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected_wait(&self, queue: &Queue) -> Duration {
        queue.cost * u32::try_from(queue.jobs.len() / self.limits.threads.max(1)).unwrap_or(u32::MAX)
    }

    fn run(&self) {
        priority::give_way();
        while let Some(job) = self.next() {
            let started = Instant::now();
            if self.perform(job) {
                let cost = started.elapsed();
                let mut queue = self.lock();
                queue.cost = (queue.cost * (COST_SMOOTHING - 1) + cost) / COST_SMOOTHING;
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers whether work was done: nobody hashes for who has left, or has waited too long.
    fn perform(&self, job: Job) -> bool {
        let late = job.queued_at.elapsed() > self.limits.wait_max;
        let busy = || HashingError::Busy { expected_wait: self.limits.wait_max };
        match job.work {
            Work::Hash { answer, .. } if answer.is_closed() => false,
            Work::Verify { answer, .. } if answer.is_closed() => false,
            Work::Hash { password, answer } => {
                // Who left meanwhile does not take the answer.
                drop(answer.send(if late { Err(busy()) } else { hash(&self.argon2, &password) }));
                !late
            }
            Work::Verify { password, stored, answer } => {
                drop(answer.send(if late { Err(busy()) } else { self.verify(&password, stored.as_deref()) }));
                !late
            }
        }
    }

    fn verify(&self, password: &str, stored: Option<&str>) -> Result<Verdict, HashingError> {
        let parsed = PasswordHash::new(stored.unwrap_or(&self.dummy)).map_err(|error| HashingError::Hash(error.into()))?;
        match self.argon2.verify_password(password.as_bytes(), &parsed) {
            Ok(()) if stored.is_some() => Ok(Verdict::Right { needs_rehash: self.is_weaker(&parsed) }),
            Ok(()) | Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
            Err(error) => Err(HashingError::Hash(error)),
        }
    }

    fn is_weaker(&self, stored: &PasswordHash) -> bool {
        let now = self.argon2.params();
        stored.algorithm != argon2::ARGON2ID_IDENT
            || Params::try_from(stored).map_or(true, |then| then.m_cost() < now.m_cost() || then.t_cost() < now.t_cost())
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, HashingError> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_error| HashingError::Randomness)?;
    let hash = argon2.hash_password_with_salt(password.as_bytes(), &salt).map_err(HashingError::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> HashingPool {
        HashingPool::start(HashingLimits { threads: 1, ..HashingLimits::default() }).expect("started")
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_with_the_stated_parameters_and_a_salt_of_its_own() {
        let pool = pool();
        let one = pool.hash("correct horse".to_owned()).await.expect("hashed");
        let two = pool.hash("correct horse".to_owned()).await.expect("hashed");

        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, two);
        assert_eq!(
            pool.verify("correct horse".to_owned(), Some(one.clone())).await.expect("verified"),
            Verdict::Right { needs_rehash: false }
        );
        assert_eq!(pool.verify("correct horse ".to_owned(), Some(one)).await.expect("verified"), Verdict::Wrong);
    }

    #[tokio::test]
    async fn no_part_of_a_password_is_cut_off() {
        // Planted fault: bcrypt's 72 bytes, or stopping at NUL.
        let pool = pool();
        for (password, other) in [("x".repeat(80), "x".repeat(79) + "y"), ("pass\0word".to_owned(), "pass\0w0rd".to_owned())] {
            let stored = pool.hash(password.clone()).await.expect("hashed");

            assert_eq!(pool.verify(other, Some(stored.clone())).await.expect("verified"), Verdict::Wrong);
            assert!(matches!(pool.verify(password, Some(stored)).await.expect("verified"), Verdict::Right { .. }));
        }
    }

    #[tokio::test]
    async fn a_hash_of_weaker_parameters_asks_to_be_made_again() {
        let weaker =
            HashingPool::start(HashingLimits { memory_kib: MEMORY_KIB / 2, threads: 1, ..HashingLimits::default() }).expect("started");
        let stored = weaker.hash("correct horse".to_owned()).await.expect("hashed");

        let verdict = pool().verify("correct horse".to_owned(), Some(stored)).await.expect("verified");
        assert_eq!(verdict, Verdict::Right { needs_rehash: true });
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_wrong_password_and_never_gets_in() {
        // Planted faults: answering at once when there is no account, or comparing with a hash that costs less (S12).
        let pool = pool();
        let stored = pool.hash("correct horse".to_owned()).await.expect("hashed");
        let cost_of = |stored: &str| {
            let parsed = PasswordHash::new(stored).expect("a hash");
            let params = Params::try_from(&parsed).expect("parameters");
            let bytes = parsed.hash.expect("a hash").len();
            (parsed.algorithm.to_string(), parsed.version, params.m_cost(), params.t_cost(), params.p_cost(), bytes)
        };
        assert_eq!(cost_of(&pool.shared.dummy), cost_of(&stored));
        let own_dummy = "nobody has this password, since nobody has this account".to_owned();
        assert_eq!(pool.verify(own_dummy, None).await.expect("verified"), Verdict::Wrong);
        let (answer, answered) = oneshot::channel();
        let job = Job { work: Work::Verify { password: "wrong".to_owned(), stored: None, answer }, queued_at: Instant::now() };
        assert!(pool.shared.perform(job) && matches!(answered.await, Ok(Ok(Verdict::Wrong))), "it counts as work");

        // A dummy that is no hash shows that it is what a password is compared with.
        let limits = HashingLimits { threads: 1, ..HashingLimits::default() };
        let params = Params::new(limits.memory_kib, PASSES, LANES, None).expect("parameters");
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), stopped: false, cost: FIRST_COST });
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let shared = Shared { queue, ready: Condvar::new(), limits, argon2, dummy: "no hash".to_owned() };
        assert!(matches!(shared.verify("wrong", None), Err(HashingError::Hash(_))));
    }

    #[tokio::test]
    async fn a_full_queue_says_busy_at_once_and_when_to_come_again() {
        // Planted fault: an unbounded queue (S10).
        let limits = HashingLimits { threads: 1, queue_max: 4, ..HashingLimits::default() };
        let pool = HashingPool::start(limits).expect("started");
        let (mut busy, mut waiting) = (0, Vec::new());
        for _ in 0..1000 {
            let (answer, answered) = oneshot::channel();
            match pool.submit(Work::Verify { password: "x".to_owned(), stored: None, answer }) {
                Ok(()) => waiting.push(answered),
                Err(HashingError::Busy { expected_wait }) if expected_wait > Duration::ZERO => busy += 1,
                Err(error) => panic!("{error}"),
            }
            assert!(pool.waiting() <= limits.queue_max);
        }

        assert!(waiting.len() >= limits.queue_max && busy > 0, "{} wait, {busy} were refused", waiting.len());
        for answered in waiting {
            assert!(matches!(answered.await, Ok(Ok(Verdict::Wrong))));
        }
        assert_eq!(pool.waiting(), 0);
    }

    #[tokio::test]
    async fn who_waited_too_long_is_told_so_and_who_left_costs_nothing() {
        let limits = HashingLimits { threads: 1, queue_max: 50, wait_max: Duration::from_millis(1), memory_kib: MEMORY_KIB };
        let pool = HashingPool::start(limits).expect("started");
        pool.shared.lock().cost = Duration::ZERO;
        let verdicts = futures_util::future::join_all((0..50).map(|_| pool.verify("x".to_owned(), None))).await;
        assert!(verdicts.iter().any(|verdict| matches!(verdict, Err(HashingError::Busy { .. }))));

        let left = (0..50).map(|_| {
            let (answer, answered) = oneshot::channel();
            drop(answered);
            Job { work: Work::Verify { password: "x".to_owned(), stored: None, answer }, queued_at: Instant::now() }
        });
        assert!(left.into_iter().all(|job| !pool.shared.perform(job)));
    }

    #[tokio::test]
    async fn a_stopped_pool_answers_everybody() {
        let pool = pool();
        // More than one thread does before it is stopped.
        let waiting: Vec<_> = (0..60)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                pool.submit(Work::Verify { password: "x".to_owned(), stored: None, answer }).expect("queued");
                answered
            })
            .collect();
        drop(pool);

        let answers = futures_util::future::join_all(waiting).await;
        assert!(answers.iter().any(Result::is_err), "those who waited are let go");
    }
}
