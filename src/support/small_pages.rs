//! No huge pages: a huge page (`madvise(2)`, `MADV_HUGEPAGE`) is resident as a whole, 2 MiB, when one byte of it is touched.
//!
//! The allocator asks for them. They spare page faults, and cost what was taken and not used yet: the half of each connection's buffers that
//! nothing was written to, and most of what a start touches once.

use rustix::thread::disable_transparent_huge_pages;

/// From now on the process, and what it starts, gets small pages. What it has keeps its size.
pub fn take_small_pages() {
    // Refused, it takes more memory, and nothing else is different.
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the size of memory's pages cannot be chosen");
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::transparent_huge_pages_are_disabled;

    use super::*;

    #[test]
    fn the_process_gets_no_huge_pages() {
        take_small_pages();

        assert!(transparent_huge_pages_are_disabled().expect("a word of the kernel"));
    }
}
