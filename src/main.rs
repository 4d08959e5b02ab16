//! The `sosik` binary.

/// Many small, short-lived values on several threads are what mimalloc is made for; docs/performance.md holds it against the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sosik::cli::main()
}
