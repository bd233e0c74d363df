#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    assert_eq!(mesh_istio_fuzz::bodies::yaml(input), Ok(()));
});
