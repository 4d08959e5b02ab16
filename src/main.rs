//! The `sosik` binary.

/// Many small, short-lived values on several threads: mimalloc serves them faster than the system's allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sosik::cli::main()
}
