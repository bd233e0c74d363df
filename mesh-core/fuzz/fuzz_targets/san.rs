#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    assert_eq!(mesh_core_fuzz::names::san(input), Ok(()));
});
