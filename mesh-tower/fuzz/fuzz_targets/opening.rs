#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    assert_eq!(mesh_tower_fuzz::opening::opening(input), Ok(()));
});
