#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fmnist_fuzz::cloud_event(bytes));
