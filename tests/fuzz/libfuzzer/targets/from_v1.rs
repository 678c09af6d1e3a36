#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir_fuzz::from_v1(bytes));
