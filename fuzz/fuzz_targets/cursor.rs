#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    sosik_fuzz::cursor(bytes);
});
