use super::*;

#[test]
fn of_the_path() {
    let plain = action(&one("rewrite: { uri: /new }"));
    assert_eq!(plain.prefix_rewrite, "/new");
    assert!(plain.regex_rewrite.is_none() && !plain.append_x_forwarded_host);
    let regex = action(&one(
        r"rewrite: { uriRegexRewrite: { match: '^/a/([^/]+)/(.*)$', rewrite: '/b/\2/\1' } }",
    ));
    assert_eq!(regex.prefix_rewrite, "");
    let rewrite = regex.regex_rewrite.unwrap();
    assert_eq!(rewrite.pattern.unwrap().regex, "^/a/([^/]+)/(.*)$");
    assert_eq!(rewrite.substitution, r"/b/\2/\1");
}

#[test]
fn timeouts_are_off_unless_given() {
    let of = |rest: &str| {
        let action = action(&one(rest));
        #[allow(deprecated, reason = "what istiod sends")]
        let grpc = action.max_grpc_timeout;
        assert_eq!(action.timeout, grpc);
        action.timeout.map(|d| (d.seconds, d.nanos))
    };
    assert_eq!(of("name: r"), Some((0, 0)));
    assert_eq!(of("timeout: 2.5s"), Some((2, 500_000_000)));
}
