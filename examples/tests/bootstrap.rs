//! The README's bootstrap is one.

#[test]
fn the_readme_s_bootstrap_can_be_used() {
    let readme = include_str!("../../README.md");
    let json = readme
        .split("```json")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a json block");
    let bootstrap = mesh_xds::Bootstrap::parse(json, "README.md").expect("can be used");
    assert_eq!(bootstrap.node.name, "productpage-v1");
    assert_eq!(&**bootstrap.server.uri(), "127.0.0.1:15010");
}
