//! Giving back what a map needed at its fullest.

use std::collections::HashMap;
use std::hash::Hash;

/// Maps below this are not worth the move.
const ROOM_MIN: usize = 4096;

/// Shrinks a map that is mostly empty. Each shrinking pays for itself: the map must have lost half of its entries since the one before.
pub fn give_back<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > ROOM_MIN && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_was_full_once_does_not_keep_its_room() {
        let mut map: HashMap<u32, u32> = (0..100_000).map(|key| (key, key)).collect();

        for key in 0..99_000 {
            map.remove(&key);
            give_back(&mut map);
        }

        assert!(map.capacity() < 10_000, "{}", map.capacity());
        assert_eq!(map.len(), 1_000);
    }
}
