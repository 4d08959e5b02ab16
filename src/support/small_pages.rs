//! No huge pages for a while: for a start, which touches much memory once and little of it again.
//!
//! A huge page (`madvise(2)`, `MADV_HUGEPAGE`) is resident as a whole, 2 MiB, when one byte of it is touched. Under load that is what makes
//! memory cheap to take; a start would end with some 40 MiB that hold next to nothing.

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

/// While this lives, the process gets small pages. What it has keeps its size.
#[derive(Debug)]
pub struct SmallPages {
    /// Whether there were huge ones before.
    huge_before: bool,
}

impl SmallPages {
    pub fn begin() -> Self {
        let huge_before = !transparent_huge_pages_are_disabled().unwrap_or(true);
        if huge_before {
            say_if_refused(disable_transparent_huge_pages(true));
        }
        Self { huge_before }
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        if self.huge_before {
            say_if_refused(disable_transparent_huge_pages(false));
        }
    }
}

/// Then it takes some more memory, and nothing else is different.
fn say_if_refused(result: rustix::io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the size of memory's pages cannot be chosen");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_come_back_afterwards() {
        let before = transparent_huge_pages_are_disabled().expect("a word of the kernel");

        let small = SmallPages::begin();

        assert!(transparent_huge_pages_are_disabled().expect("a word of the kernel"));
        drop(small);
        assert_eq!(transparent_huge_pages_are_disabled().expect("a word of the kernel"), before);
    }
}
