#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    assert_eq!(mesh_xds_fuzz::rbac::rbac(input), Ok(()));
});
