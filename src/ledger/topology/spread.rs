//! How rows are spread over the ids, in little memory: rows with their ids go in, in any order; the ids at which even shares begin come out.
//!
//! Ids are counted in buckets of equal width. When there are too many buckets, two neighbours become one: however many ids there are, and
//! however far apart they lie, there are at most [`BUCKETS_MAX`].

use std::collections::BTreeMap;

/// Buckets without rows are not kept, so that a share is even to about one part in a thousand however far apart the ids lie.
const BUCKETS_MAX: usize = 4096;

/// Rows by id.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    /// A bucket is `1 << shift` ids wide.
    shift: u32,
    rows: BTreeMap<u64, u64>,
    highest: u64,
}

impl Spread {
    pub fn add(&mut self, id: u64, rows: u64) {
        self.highest = self.highest.max(id);
        *self.rows.entry(id >> self.shift).or_default() += rows;
        while self.rows.len() > BUCKETS_MAX {
            self.shift += 1;
            let finer = std::mem::take(&mut self.rows);
            for (bucket, rows) in finer {
                *self.rows.entry(bucket >> 1).or_default() += rows;
            }
        }
    }

    /// Above all ids that were added.
    pub fn next_id(&self) -> u64 {
        self.highest + 1
    }

    /// Where `count` ranges begin that hold about as many rows each; the first begins at 0, and they rise.
    pub fn even(&self, count: usize) -> Vec<u64> {
        let all: u128 = self.rows.values().map(|rows| u128::from(*rows)).sum();
        let mut starts = vec![0_u64];
        let mut before = 0_u128;
        for (bucket, rows) in &self.rows {
            // The bucket in whose middle, or later, the share of the one before is full begins the next range.
            while starts.len() < count && (2 * before + u128::from(*rows)) * count as u128 >= 2 * all * starts.len() as u128 {
                let begin = bucket << self.shift;
                starts.push(begin.max(starts[starts.len() - 1] + 1));
            }
            before += u128::from(*rows);
        }
        while starts.len() < count {
            starts.push(starts[starts.len() - 1].max(self.highest) + 1);
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, proptest};

    use super::*;

    fn shares(ids: &[u64], starts: &[u64]) -> Vec<usize> {
        let mut shares = vec![0; starts.len()];
        ids.iter().for_each(|id| shares[starts.partition_point(|start| start <= id) - 1] += 1);
        shares
    }

    #[test]
    fn ranges_share_the_rows_evenly_however_far_apart_they_lie() {
        // Two busy times, a long silence between them.
        let ids: Vec<u64> =
            (0..60_000).map(|index| (1 << 50) + index * 3).chain((0..40_000).map(|index| (1 << 61) + index * 1024)).collect();
        let mut spread = Spread::default();
        ids.iter().for_each(|id| spread.add(*id, 1));

        let shares = shares(&ids, &spread.even(2));

        assert!(shares[0].abs_diff(50_000) < 1_000, "{shares:?}");
        assert_eq!(spread.next_id(), ids[ids.len() - 1] + 1);
    }

    #[test]
    fn rows_count_and_not_ids() {
        let mut spread = Spread::default();
        (1..=10).for_each(|id| spread.add(id * 1000, if id == 1 { 9 } else { 1 }));

        assert_eq!(shares(&[1000, 2000, 10_000], &spread.even(2)), [1, 2], "the first id has half of the rows");
    }

    #[test]
    fn without_rows_there_are_ranges_all_the_same() {
        assert_eq!(Spread::default().even(3), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn ranges_rise_from_0_and_none_is_much_fuller_than_another(
            ids in proptest::collection::btree_set(1..1_u64 << 40, 400..6000),
            count in 1..9_usize,
        ) {
            let mut spread = Spread::default();
            ids.iter().for_each(|id| spread.add(*id, 1));
            let starts = spread.even(count);
            let ids: Vec<u64> = ids.into_iter().collect();
            let shares = shares(&ids, &starts);

            prop_assert!(starts.len() == count && starts[0] == 0 && starts.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(spread.rows.len() <= BUCKETS_MAX);
            let widest = spread.rows.values().max().copied().unwrap_or_default() as usize;
            let fair = ids.len() / count;
            prop_assert!(shares.iter().all(|share| share.abs_diff(fair) <= widest + 1), "{shares:?}, {widest} in the widest bucket");
        }
    }
}
