//! The corpus of the fuzz targets, replayed without a fuzzer: each file as it is, cut off at every length, and with each of its bytes changed.

#![cfg(test)]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "in its own crate it is public")]
mod targets;

use std::path::Path;

/// Longer files are looked at in fewer places.
const PLACES_MAX: usize = 512;

fn replay(name: &str, target: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let (mut read, mut refused) = (0, 0);
    for file in std::fs::read_dir(&folder).expect("a corpus") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("its bytes");
        if target(&bytes) {
            read += 1;
        } else {
            refused += 1;
        }
        for place in (0..bytes.len()).step_by(bytes.len().div_ceil(PLACES_MAX).max(1)) {
            target(&bytes[..place]);
            for change in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                target(&changed);
            }
        }
    }
    assert!(read > 0 && refused > 0, "{name}: {read} files are what the target reads, {refused} are not");
}

macro_rules! replayed {
    ($($target:ident),+) => {$(
        #[test]
        fn $target() {
            replay(stringify!($target), targets::$target);
        }
    )+};
}

replayed!(client_frame, last_event_id, cursor, consistency_token, journal_entry, jwt_header);
