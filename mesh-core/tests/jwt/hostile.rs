//! Tokens that must not be believed, by what is wrong with them. They are otherwise good.

use mesh_core::jwt::{Alg, LONGEST, Why};

use super::reference::Check::{self, *};
use super::scene::{Draft, NOW, Sent, claims, encoded, key, stranger};

/// A request that must be refused.
#[derive(Debug)]
pub(crate) struct Hostile {
    pub(crate) class: &'static str,
    pub(crate) sent: Sent,
    /// All that is wrong with it; nothing for what no reader can read.
    pub(crate) faults: &'static [Check],
    pub(crate) why: Why,
}

/// All of them.
pub(crate) fn all() -> Vec<Hostile> {
    [
        algorithms(),
        key_confusion(),
        forgeries(),
        forms(),
        base64(),
        header_json(),
        claims_json(),
        unreadable_claims(),
        headers(),
        types(),
        names(),
        times(),
        places(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn one(
    class: &'static str,
    token: impl Into<String>,
    faults: &'static [Check],
    why: Why,
) -> Hostile {
    Hostile {
        class,
        sent: Sent::token(token),
        faults,
        why,
    }
}

fn with_claims(
    class: &'static str,
    changed: &[(&str, &str)],
    faults: &'static [Check],
    why: Why,
) -> Hostile {
    one(
        class,
        Draft::good().claims(claims(changed)).token(),
        faults,
        why,
    )
}

fn with_header(class: &'static str, header: &str, faults: &'static [Check], why: Why) -> Hostile {
    one(class, Draft::good().header(header).token(), faults, why)
}

/// No algorithm, and those of shared keys, the public key being the secret.
fn algorithms() -> Vec<Hostile> {
    let names = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "HS256",
        "HS384",
        "HS512",
        "hs256",
        "rs256",
        "RS255",
        " RS256",
        "RS256 ",
        "RS256\\u0000",
        "ES256K",
        "Ed25519",
        "RSA-OAEP",
        "dir",
        "A128KW",
        "MD5",
    ];
    let mut all = Vec::new();
    for name in names {
        let header = format!(r#"{{"alg":"{name}","kid":"r1"}}"#);
        let draft = Draft {
            signed_as: name,
            ..Draft::good().header(header)
        };
        all.push(one(
            "an algorithm that is not to be had",
            draft.token(),
            &[Alg],
            Why::Unsupported,
        ));
    }
    let header = r#"{"alg":"none"}"#;
    let unsigned = format!("{}.{}.", encoded(header), encoded(claims(&[])));
    all.push(one("no signature", unsigned, &[Form, Alg], Why::BadFormat));
    let unsigned = format!("{}.{}.AA", encoded(header), encoded(claims(&[])));
    all.push(one("no signature", unsigned, &[Alg], Why::Unsupported));
    all
}

/// Good signatures by keys of the set that must not have made them.
fn key_confusion() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (alg, kid) in [
        ("RS256", "e1"),
        ("PS256", "d1"),
        ("RS512", "e5"),
        ("ES256", "r1"),
        ("ES256", "e3"),
        ("ES384", "e1"),
        ("ES512", "e3"),
        ("ES384", "d1"),
        ("EdDSA", "e1"),
        ("EdDSA", "r1"),
    ] {
        let token = Draft::of(alg, kid).token();
        all.push(one(
            "a key of another type",
            token,
            &[KeyType],
            Why::NoSuchKey,
        ));
    }
    for alg in ["RS384", "RS512", "PS256"] {
        let token = Draft::of(alg, "r2").token();
        all.push(one(
            "a key of another algorithm",
            token,
            &[KeyAlg],
            Why::NoSuchKey,
        ));
    }
    let token = Draft::of("RS256", "encrypts").token();
    all.push(one("a key that encrypts", token, &[KeyUse], Why::NoSuchKey));
    let unnamed = Draft::of("RS256", "encrypts").header(r#"{"alg":"RS256"}"#);
    all.push(one(
        "a key that encrypts",
        unnamed.token(),
        &[KeyUse],
        Why::Verification,
    ));
    for (kid, why) in [
        ("r2", Why::Verification),
        ("r9", Why::NoSuchKey),
        ("R1", Why::NoSuchKey),
        ("r1 ", Why::NoSuchKey),
        ("r1\\u0000", Why::NoSuchKey),
        ("../../dev/null", Why::NoSuchKey),
        ("' OR 1=1 --", Why::NoSuchKey),
        ("e1", Why::NoSuchKey),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
        all.push(with_header("the kid of another key", &header, &[Kid], why));
    }
    let secret = Draft::good().header(r#"{"alg":"HS256","kid":"secret"}"#);
    all.push(one(
        "a shared key that is published",
        secret.token(),
        &[Alg],
        Why::Unsupported,
    ));
    all
}

/// Signatures that nobody made.
fn forgeries() -> Vec<Hostile> {
    let class = "a forged signature";
    let wrong = |token: String| one(class, token, &[Signature], Why::Verification);
    let good = Draft::good().token();
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let (header, payload) = signed.split_once('.').expect("two parts");
    let bytes = Draft::good().by.sign("RS256", signed);
    let mut all = Vec::new();
    for at in [0, 1, 31, 32, 62, 63] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        all.push(wrong(format!("{signed}.{}", encoded(changed))));
    }
    for changed in [
        &bytes[..63],
        &bytes[1..],
        &bytes[..1],
        &[0; 64],
        &[0; 256],
        &[bytes.clone(), bytes.clone()].concat(),
    ] {
        all.push(wrong(format!("{signed}.{}", encoded(changed))));
    }
    let admin = encoded(claims(&[("sub", "\"user-admin\"")]));
    all.push(wrong(format!("{header}.{admin}.{signature}")));
    let other = encoded(r#"{"alg":"RS512","kid":"r1","typ":"JWT"}"#);
    all.push(wrong(format!("{other}.{payload}.{signature}")));
    all.push(wrong(format!("{header}.{payload}.{payload}")));
    all.push(wrong(Draft::good().by(stranger()).token()));
    for header in [
        r#"{"alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}"#,
        r#"{"alg":"RS256","kid":"r1","jku":"https://evil.example/keys"}"#,
        r#"{"alg":"RS256","x5u":"https://evil.example/cert"}"#,
        r#"{"alg":"RS256","x5c":["MIIB"]}"#,
    ] {
        all.push(wrong(Draft::good().header(header).by(stranger()).token()));
    }
    for length in [63, 65, 128] {
        let good = Draft::of("EdDSA", "d1").token();
        let (signed, _) = good.rsplit_once('.').expect("a signature");
        let token = format!("{signed}.{}", encoded(vec![7; length]));
        all.push(one(class, token, &[Signature], Why::Ed25519Length));
    }
    for zero in ["ES256", "ES384", "ES512"] {
        let kid = ["e1", "e3", "e5"][["ES256", "ES384", "ES512"]
            .iter()
            .position(|it| *it == zero)
            .unwrap_or(0)];
        let good = Draft::of(zero, kid).token();
        let (signed, _) = good.rsplit_once('.').expect("a signature");
        all.push(wrong(format!("{signed}.{}", encoded([0; 64]))));
    }
    all
}

fn forms() -> Vec<Hostile> {
    let good = Draft::good().token();
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let class = "another form";
    let wrong = |token: String| one(class, token, &[Form], Why::BadFormat);
    let mut all = vec![
        wrong(format!("{good}.")),
        wrong(format!("{good}...")),
        wrong(format!(".{good}")),
        wrong(format!("{signed}..{signature}")),
        wrong(format!("{good}.AA")),
        wrong(format!("{good}.AA.AA")),
        one(
            class,
            format!("{signed}."),
            &[Form, Signature],
            Why::BadFormat,
        ),
        one(class, signed, &[Form, Signature], Why::BadFormat),
    ];
    for nothing in [
        "",
        ".",
        "..",
        "...",
        "token",
        "undefined",
        "null",
        "{}",
        "Bearer",
        "a.b",
        "🦀.🦀",
    ] {
        all.push(one("no token at all", nothing, &[], Why::BadFormat));
    }
    let both = format!("{good}, Bearer {good}");
    all.push(one("two tokens in one value", both, &[], Why::BadFormat));
    let half = &good[..signed.len() / 4];
    all.push(one("a torn token", half, &[], Why::BadFormat));
    for more in [1, LONGEST, 1 << 20] {
        let long = "x".repeat(LONGEST + more);
        let token = Draft::good()
            .claims(claims(&[("more", &format!("\"{long}\""))]))
            .token();
        all.push(one("a huge token", token, &[Length], Why::TooLong));
    }
    all.push(one(
        "a huge token",
        ".".repeat(LONGEST + 1),
        &[],
        Why::TooLong,
    ));
    all
}

/// Other spellings of the same bytes: whoever compares tokens, or caches them, takes them for different ones.
fn base64() -> Vec<Hostile> {
    let draft = Draft::good()
        .header(r#"{"alg":"RS256"}"#)
        .claims(claims(&[("more", "\"??>>~~\"")]));
    let (header, payload) = (encoded(&draft.header), encoded(&draft.claims));
    let mut all = Vec::new();
    let class = "another spelling";
    for spelled in [
        format!("{header}="),
        format!("{header}=="),
        format!(" {header}"),
        format!("{header}\t"),
    ] {
        let token = draft.spelled(&spelled, &payload);
        all.push(one(class, token, &[Base64], Why::HeaderBase64));
    }
    let plain = payload.replace('-', "+").replace('_', "/");
    assert_ne!(plain, payload, "the alphabets differ here");
    for spelled in [
        format!("{payload}="),
        format!("{payload} "),
        plain,
        format!("{} {}", &payload[..8], &payload[8..]),
    ] {
        let token = draft.spelled(&header, &spelled);
        all.push(one(class, token, &[Base64], Why::PayloadBase64));
    }
    let good = draft.token();
    for spelled in [format!("{good}=="), format!("{good}="), format!("{good} ")] {
        all.push(one(class, spelled, &[Base64], Why::SignatureBase64));
    }
    // 64 bytes leave four bits of the last character unused.
    let last = good.chars().last().expect("a character");
    let next = char::from(last as u8 + 1);
    let stray = format!("{}{next}", &good[..good.len() - 1]);
    all.push(one(class, stray, &[Base64], Why::SignatureBase64));
    for (spelled, why) in [
        ("!!!!", Why::HeaderBase64),
        ("a", Why::HeaderBase64),
        ("é", Why::HeaderBase64),
    ] {
        let token = draft.spelled(spelled, &payload);
        all.push(one("no base64url", token, &[], why));
    }
    all
}

fn header_json() -> Vec<Hostile> {
    let mut all = Vec::new();
    for twice in [
        r#"{"alg":"none","alg":"RS256","kid":"r1"}"#,
        r#"{"alg":"RS256","kid":"e1","kid":"r1"}"#,
        r#"{"alg":"HS256","\u0061lg":"RS256"}"#,
    ] {
        all.push(with_header("a name twice", twice, &[Json], Why::HeaderJson));
    }
    let deep = format!(
        r#"{{"alg":"RS256","x":{}1{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    all.push(with_header("too deep", &deep, &[Json], Why::HeaderJson));
    for none in [
        "",
        "null",
        "[]",
        "\"RS256\"",
        "{",
        "{\"alg\":\"RS256\"",
        "{\"alg\":\"RS256\",}",
        "{'alg':'RS256'}",
        "{alg:1}",
        "\u{feff}{\"alg\":\"RS256\"}",
        "{\"alg\":\"RS256\"}{}",
        "{\"alg\":\"RS256\"}\0",
        "{\"alg\":NaN}",
    ] {
        let why = if none.is_empty() {
            Why::BadFormat
        } else {
            Why::HeaderJson
        };
        all.push(with_header("no JSON object", none, &[], why));
    }
    all
}

fn claims_json() -> Vec<Hostile> {
    let mut all = Vec::new();
    for twice in [
        ("iss", "\"evil\",\"iss\":\"https://issuer.example\""),
        ("sub", "\"user-admin\",\"sub\":\"user-1\""),
        ("aud", "\"evil\",\"aud\":\"api\""),
        ("exp", "1,\"exp\":1800000600"),
        ("roles", "{\"a\":1,\"a\":2}"),
        ("list", "[{\"a\":1,\"\\u0061\":2}]"),
    ] {
        all.push(with_claims(
            "a name twice",
            &[twice],
            &[Json],
            Why::PayloadJson,
        ));
    }
    for depth in [32, 100] {
        let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        all.push(with_claims(
            "too deep",
            &[("x", &deep)],
            &[Json],
            Why::PayloadJson,
        ));
        let deep = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        all.push(with_claims(
            "too deep",
            &[("x", &deep)],
            &[Json],
            Why::PayloadJson,
        ));
    }
    let deep = "[".repeat(5_000);
    all.push(with_claims(
        "too deep",
        &[("x", &deep)],
        &[],
        Why::PayloadJson,
    ));
    all
}

fn unreadable_claims() -> Vec<Hostile> {
    let mut all = Vec::new();
    for none in [
        "\"",
        "01",
        "+1",
        "1e999",
        "tru",
        "\"\u{1}\"",
        "\"\\ud800\"",
        "/**/1",
        "[1,]",
        "\\u0031",
    ] {
        all.push(with_claims(
            "no JSON object",
            &[("x", none)],
            &[],
            Why::PayloadJson,
        ));
    }
    for none in ["null", "[]", "1", "{", "{}}", "iss=https://issuer.example"] {
        let token = Draft::good().claims(none).token();
        all.push(one("no JSON object", token, &[], Why::PayloadJson));
    }
    let token = Draft::good();
    let bad = [claims(&[]).as_bytes(), b"\xff"].concat();
    let token = token.spelled(&encoded(&token.header), &encoded(bad));
    all.push(one("no UTF-8", token, &[], Why::PayloadJson));
    all
}

fn headers() -> Vec<Hostile> {
    let mut all = Vec::new();
    for alg in ["null", "256", "[\"RS256\"]", "{\"RS256\":1}", "true"] {
        let header = format!(r#"{{"alg":{alg},"kid":"r1"}}"#);
        all.push(with_header(
            "alg is no text",
            &header,
            &[HeaderTypes],
            Why::HeaderAlg,
        ));
    }
    all.push(with_header(
        "alg is no text",
        r#"{"kid":"r1"}"#,
        &[HeaderTypes],
        Why::HeaderAlg,
    ));
    all.push(with_header(
        "alg is no text",
        r#"{"ALG":"RS256"}"#,
        &[HeaderTypes],
        Why::HeaderAlg,
    ));
    for kid in ["null", "1", "[\"r1\"]", "{}"] {
        let header = format!(r#"{{"alg":"RS256","kid":{kid}}}"#);
        all.push(with_header(
            "kid is no text",
            &header,
            &[HeaderTypes],
            Why::HeaderKid,
        ));
    }
    for crit in ["[\"b64\"],\"b64\":false", "[]", "[\"exp\"]", "null"] {
        let header = format!(r#"{{"alg":"RS256","kid":"r1","crit":{crit}}}"#);
        all.push(with_header(
            "what must be understood",
            &header,
            &[Critical],
            Why::Critical,
        ));
    }
    all
}

fn types() -> Vec<Hostile> {
    let class = "a claim of another type";
    [
        ("iss", "[\"https://issuer.example\"]", Why::Issuer),
        ("sub", "[\"user-1\"]", Why::Subject),
        ("iat", "\"1\"", Why::IssuedAt),
        ("iat", "null", Why::IssuedAt),
        ("iat", "-1", Why::IssuedAtRange),
        ("iat", "18446744073709551616", Why::IssuedAtRange),
        ("nbf", "\"0\"", Why::NotBefore),
        ("nbf", "-1e300", Why::NotBeforeRange),
        ("exp", "\"1800000600\"", Why::Expires),
        ("exp", "1e300", Why::ExpiresRange),
        ("jti", "5", Why::Id),
        ("jti", "{}", Why::Id),
        ("aud", "[\"api\",5]", Why::AudienceType),
        ("aud", "[\"api\",null]", Why::AudienceType),
        ("aud", "{\"api\":1}", Why::AudienceType),
    ]
    .map(|(name, value, why)| with_claims(class, &[(name, value)], &[ClaimTypes], why))
    .into()
}

fn names() -> Vec<Hostile> {
    let mut all = Vec::new();
    for issuer in [
        "",
        "\"\"",
        "\"https://issuer.example/\"",
        "\"https://issuer.exampl\"",
        "\"https://issuer.example.evil\"",
        "\"HTTPS://issuer.example\"",
        "\"http://issuer.example\"",
        "\" https://issuer.example\"",
        "\"https://issuer.example\\u0000\"",
        "\"https://issuer.example,x\"",
    ] {
        all.push(with_claims(
            "another issuer",
            &[("iss", issuer)],
            &[Issuer],
            Why::UnknownIssuer,
        ));
    }
    for subject in ["", "\"\"", "\"admin\"", "\"User-1\"", "\" user-1\""] {
        let hostile = with_claims(
            "another subject",
            &[("sub", subject)],
            &[Subject],
            Why::SubjectNotAllowed,
        );
        all.push(hostile);
    }
    for audience in [
        "",
        "\"\"",
        "[]",
        "[\"\"]",
        "\"other\"",
        "\"API\"",
        "\"api \"",
        "\"ap\"",
        "\"apis\"",
        "\"ftp://api\"",
        "\"api/x\"",
        "[\"a\",\"b\"]",
        "\"api,other\"",
        "\"*\"",
    ] {
        let hostile = with_claims(
            "another audience",
            &[("aud", audience)],
            &[Audience],
            Why::AudienceNotAllowed,
        );
        all.push(hostile);
    }
    all
}

fn times() -> Vec<Hostile> {
    let mut all = Vec::new();
    for end in [NOW - 61, NOW - 3600, 1, 0] {
        let end = end.to_string();
        all.push(with_claims(
            "past",
            &[("exp", &end)],
            &[Expired],
            Why::Expired,
        ));
    }
    all.push(with_claims(
        "past",
        &[("exp", "0.9")],
        &[Expired],
        Why::Expired,
    ));
    let almost = format!("{}.9", NOW - 61);
    all.push(with_claims(
        "past",
        &[("exp", &almost)],
        &[Expired],
        Why::Expired,
    ));
    all.push(with_claims(
        "without end",
        &[("exp", "")],
        &[Lifetime],
        Why::Lifetime,
    ));
    for start in [NOW + 61, NOW + 3600, u64::MAX - 2048] {
        let start = start.to_string();
        all.push(with_claims(
            "not yet good",
            &[("nbf", &start)],
            &[NotBefore],
            Why::NotYetValid,
        ));
    }
    all
}

/// Several tokens: policy would look at one, and the application maybe at another.
fn places() -> Vec<Hostile> {
    let good = Draft::good().token();
    let admin = Draft::good()
        .claims(claims(&[("sub", "\"user-admin\"")]))
        .token();
    let bearer = |token: &str| format!("Bearer {token}");
    let several = |sent: Sent| Hostile {
        class: "several tokens",
        sent,
        faults: &[Several],
        why: Why::Several,
    };
    let mut all = Vec::new();
    for second in [&*admin, "garbage", "", "a.b.c"] {
        all.push(several(Sent::token(&good).header("x-token", second)));
        all.push(several(
            Sent::token(&good).query(format!("access_token={second}")),
        ));
        all.push(several(
            Sent::token(&good).header("cookie", format!("token={second}")),
        ));
    }
    let in_header = Sent::default().header("authorization", bearer(&good));
    all.push(several(
        in_header.clone().header("authorization", bearer(&admin)),
    ));
    all.push(several(
        in_header
            .clone()
            .header("cookie", format!("a=b; token=\"{admin}\"")),
    ));
    all.push(several(
        in_header.query(format!("x=1&access%5Ftoken={admin}")),
    ));
    let twice = format!("access_token={good}&access_token={admin}");
    all.push(several(Sent::default().query(twice)));
    let twice = format!("token={good}; token={admin}");
    all.push(several(Sent::default().header("cookie", twice)));
    for sent in [
        Sent::default(),
        Sent::default().header("authorization", format!("Basic {good}")),
        Sent::default().header("authorization", "Bearer"),
        Sent::default().header("x-other", &good),
        Sent::default().header("cookie", format!("atoken={good}")),
        Sent::default().query(format!("token={good}")),
    ] {
        all.push(Hostile {
            class: "no token",
            sent,
            faults: &[Present],
            why: Why::Missing,
        });
    }
    all
}

/// Tokens that are good, so that it is the faults above that count.
pub(crate) fn harmless() -> Vec<Sent> {
    let good = Draft::good().token();
    let mut all: Vec<Sent> = Alg::ALL
        .into_iter()
        .map(|alg| {
            let kid = match alg {
                Alg::ES256 => "e1",
                Alg::ES384 => "e3",
                Alg::ES512 => "e5",
                Alg::EdDSA => "d1",
                _ => "r1",
            };
            Sent::token(Draft::of(alg.name(), kid).token())
        })
        .collect();
    all.push(Sent::token(Draft::of("RS256", "r2").token()));
    for header in [
        r#"{"alg":"RS256"}"#,
        r#" { "alg":"RS256","kid":"","jku":"x" } "#,
    ] {
        all.push(Sent::token(Draft::good().header(header).token()));
        all.push(Sent::token(
            Draft::good().header(header).by(key("r2")).token(),
        ));
    }
    let (late, early) = ((NOW - 60).to_string(), (NOW + 60).to_string());
    for changed in [
        ("exp", &*late),
        ("nbf", &early),
        ("nbf", ""),
        ("iat", ""),
        ("aud", "\"api\""),
        ("aud", "\"https://api/\""),
        ("jti", "\"1\""),
        ("x", "[null,{\"a\":[1.5e3]}]"),
        ("iat", "18446744073709549568"),
        ("exp", "1800000000.5"),
    ] {
        all.push(Sent::token(
            Draft::good().claims(claims(&[changed])).token(),
        ));
    }
    let deep = format!("{}1{}", "[".repeat(31), "]".repeat(31));
    all.push(Sent::token(
        Draft::good().claims(claims(&[("x", &deep)])).token(),
    ));
    all.push(Sent::token(&good).header("x-token", &good));
    all.push(
        Sent::default()
            .header("authorization", format!("Bearer {good}"))
            .query(format!("access_token={good}")),
    );
    all.push(Sent::default().header("cookie", format!("token=\"{good}\"; a=b")));
    all.push(Sent::default().query(format!("a=b&access_token={good}&c")));
    all
}
