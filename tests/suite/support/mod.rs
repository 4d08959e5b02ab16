//! What the suites share: a server to start, kill and start again; people who use it; the history of a run and its checks.

pub(crate) mod client;
pub(crate) mod databases;
pub(crate) mod facts;
pub(crate) mod faults;
pub(crate) mod followed;
pub(crate) mod history;
pub(crate) mod ill;
pub(crate) mod inboxes;
pub(crate) mod load;
pub(crate) mod raw_socket;
pub(crate) mod server;
pub(crate) mod shards;
pub(crate) mod socket;
pub(crate) mod verdict;

/// A small deterministic generator (SplitMix64, Steele, Lea and Flood 2014): a run is repeated by its seed.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64) as usize;
        items.get(index)
    }
}

/// The seed of a run: `SOSIK_TEST_SEED`, or the process id, and always printed so that a failure can be repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = std::env::var("SOSIK_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    println!("{test}: SOSIK_TEST_SEED={seed}");
    seed
}

/// A number from the environment, for longer runs than the everyday one.
pub(crate) fn number_from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
