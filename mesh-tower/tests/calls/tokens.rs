//! `RequestAuthentication`: from its YAML to what a caller is answered, and to what the application hears of it.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mesh_istio::Options;
use mesh_tower::{AccessLog, Mesh};
use mesh_xds::{ResourceType, Resources};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access_log::Written;
use crate::support::ads::Scripted;
use crate::support::{node, until};

pub(crate) const ISSUER: &str = "https://issuer.example";

/// Who may call: those of the issuer whose token says so.
pub(crate) const POLICY: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: signed-in, namespace: default }
spec:
  rules:
  - from: [ { source: { requestPrincipals: [https://issuer.example/ada] } } ]
    when: [ { key: 'request.auth.claims[scope]', values: [read] } ]
";

/// Who signs tokens.
pub(crate) struct Issuer(KeyPair);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// Its key, as a `jwks`.
    pub(crate) fn keys(&self) -> String {
        // Of an uncompressed point: a mark, x and y.
        let (x, y) = self.0.der_bytes()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#)
    }

    /// A token of `ada`, good for so many seconds from now.
    pub(crate) fn token(&self, seconds: i64) -> String {
        self.says(&format!(
            r#"{{"iss":"{ISSUER}","sub":"ada","scope":"read write","exp":{}}}"#,
            now() + seconds
        ))
    }

    fn says(&self, claims: &str) -> String {
        let [header, claims] =
            [r#"{"alg":"ES256"}"#, claims].map(|json| URL_SAFE_NO_PAD.encode(json));
        let message = format!("{header}.{claims}");
        let signature = raw(&self.0.sign(message.as_bytes()).unwrap());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn rules(&self) -> String {
        self.rules_for("productpage")
    }

    fn rules_for(&self, app: &str) -> String {
        format!(
            "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: issuer, namespace: default }}
spec:
  selector: {{ matchLabels: {{ app: {app} }} }}
  jwtRules:
  - issuer: {ISSUER}
    jwks: '{}'
    outputClaimToHeaders: [ {{ header: x-user, claim: sub }} ]
",
            self.keys()
        )
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs().try_into().unwrap()
}

/// The two numbers of a signature, 32 bytes each, out of a sequence in DER (RFC 7518, 3.4).
fn raw(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (head, tail) = rest.split_at(2);
        let (number, tail) = tail.split_at(head[1].into());
        let bare = number.strip_prefix(&[0]).unwrap_or(number);
        out.resize(out.len() + 32 - bare.len(), 0);
        out.extend(bare);
        rest = tail;
    }
    out
}

/// What istiod sends to the servers of the test's node under these rules.
fn listeners(rules: &[&str]) -> Resources {
    let options = Options::default().certificates(true);
    let loaded = options.parse([("rules.yaml".into(), rules.join("---\n"))]);
    let listeners = loaded.unwrap().config.resources(&node()).listeners;
    Resources {
        listeners,
        ..Resources::default()
    }
}

struct Scene {
    server: Scripted,
    address: SocketAddr,
    log: Written,
    mesh: Mesh,
}

impl Scene {
    async fn start(rules: &[&str]) -> Self {
        let (server, address) = Scripted::start(listeners(rules)).await;
        let log = Written::default();
        let mesh = Mesh::builder()
            .xds(address.to_string())
            .node(node())
            .access_log(AccessLog::to(log.clone()))
            .build()
            .unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(told)));
        Self {
            server,
            address,
            log,
            mesh,
        }
    }

    fn push(&self, rules: &[&str]) {
        let listeners = listeners(rules);
        self.server
            .push(ResourceType::Listener, |held| *held = listeners);
    }

    /// The answer to one request, in lower case but for the body.
    async fn ask(&self, target: &str, headers: &[String]) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request =
            format!("GET {target} HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    async fn status(&self, target: &str, headers: &[String]) -> u16 {
        let (head, _) = self.ask(target, headers).await;
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// What the application sees of a caller.
async fn told(request: Request) -> String {
    let mut told = request.uri().to_string();
    for name in ["x-user", "x-payload", "x-token", "authorization"] {
        for line in request.headers().get_all(name) {
            told.push_str(&format!(" {name}={}", line.to_str().unwrap()));
        }
    }
    told
}

pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

fn spoofed() -> String {
    "x-user: root".to_owned()
}

#[tokio::test]
async fn a_token_opens_what_a_policy_keeps_shut() {
    let issuer = Issuer::new();
    let rules = issuer.rules();
    let scene = Scene::start(&[&rules, POLICY]).await;
    let good = issuer.token(300);

    let (head, body) = scene.ask("/", &[spoofed()]).await;
    assert!(head.starts_with("http/1.1 403"), "{head}");
    assert!(!head.contains("www-authenticate"), "{head}");
    assert_eq!(body, "RBAC: access denied");

    let (head, body) = scene.ask("/a?b=1", &[bearer(&good), spoofed()]).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    // Nobody but the filter says who it is, and the token stays with who asked for it.
    assert_eq!(body, "/a?b=1 x-user=ada");

    let target = format!("/a?b=1&access_token={good}&c");
    let (head, body) = scene.ask(&target, &[]).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "/a?b=1&c x-user=ada");
    let (head, _) = scene.ask("/a?access_token=secret.of.mine", &[]).await;
    assert!(head.starts_with("http/1.1 401"), "{head}");
    // Good or not, nobody reads it in a log.
    let lines = scene.log.wait(4).await;
    assert!(
        lines[2].contains("\"GET /a?b=1&c HTTP/1.1\" 200"),
        "{}",
        lines[2]
    );
    assert!(lines[3].contains("\"GET /a HTTP/1.1\" 401"), "{}", lines[3]);

    // A good token of somebody else, and one of the same with less to say.
    for claims in [
        r#""sub":"eve","scope":"read""#,
        r#""sub":"ada","scope":"write""#,
    ] {
        let token = issuer.says(&format!(r#"{{"iss":"{ISSUER}",{claims}}}"#));
        assert_eq!(scene.status("/", &[bearer(&token)]).await, 403, "{claims}");
    }
    assert_eq!(*scene.server.nacks.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bad_token_is_answered_in_envoys_words() {
    let issuer = Issuer::new();
    // No policy: that there must be a token nobody says, and a bad one is refused all the same.
    let rules = issuer.rules();
    let scene = Scene::start(&[&rules]).await;
    let (head, body) = scene.ask("/", &[spoofed()]).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "/");

    let other = Issuer::new().token(300);
    let bad = [
        (
            "x",
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (&*issuer.token(-3600), "Jwt is expired"),
        (&*other, "Jwt verification fails"),
    ];
    for (at, (token, text)) in bad.into_iter().enumerate() {
        let (head, body) = scene.ask("/a?b", &[bearer(token)]).await;
        assert!(head.starts_with("http/1.1 401 unauthorized\r\n"), "{head}");
        assert_eq!(body, text);
        let challenge =
            "www-authenticate: bearer realm=\"http://reviews/a\", error=\"invalid_token\"\r\n";
        assert!(head.contains(challenge), "{head}");
        let lines = scene.log.wait(at + 2).await;
        let details = format!(
            r#"" 401 - jwt_authn_access_denied{{{}}} - "-" - {} "#,
            text.replace(' ', "_"),
            text.len()
        );
        assert!(lines[at + 1].contains(&details), "{}", lines[at + 1]);
    }

    let grpc = "content-type: application/grpc".to_owned();
    let (head, _) = scene.ask("/", &[bearer(&other), grpc]).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("grpc-status: 16\r\n"), "{head}");
    assert!(
        head.contains("grpc-message: jwt verification fails\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_token_is_taken_where_the_rules_say() {
    let issuer = Issuer::new();
    let rules = format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: issuer, namespace: default }}
spec:
  jwtRules:
  - issuer: {ISSUER}
    audiences: [books]
    jwks: '{}'
    fromHeaders: [ {{ name: x-token, prefix: 'Token ' }} ]
    fromParams: [t]
    fromCookies: [crumb]
    forwardOriginalToken: true
    outputPayloadToHeader: x-payload
",
        issuer.keys()
    );
    let scene = Scene::start(&[&rules]).await;
    let [good, other] = ["books", "films"]
        .map(|of| issuer.says(&format!(r#"{{"iss":"{ISSUER}","aud":["{of}","x"]}}"#)));
    let payload = good.split('.').nth(1).unwrap();

    let (_, body) = scene.ask("/", &[format!("x-token: Token {good}")]).await;
    assert_eq!(body, format!("/ x-payload={payload} x-token=Token {good}"));
    let target = format!("/?t={good}");
    let (_, body) = scene.ask(&target, &[]).await;
    assert_eq!(body, format!("{target} x-payload={payload}"));
    let cookie = |token: &str| format!("cookie: a=b; crumb={token}");
    let (_, body) = scene.ask("/", &[cookie(&good)]).await;
    assert_eq!(body, format!("/ x-payload={payload}"));

    // Where nobody looks it is none, and a bad one is no worse.
    for token in [&*good, "x"] {
        let (_, body) = scene.ask("/", &[bearer(token)]).await;
        assert_eq!(body, format!("/ authorization=Bearer {token}"));
    }
    let (head, body) = scene.ask("/", &[cookie(&other)]).await;
    assert!(head.starts_with("http/1.1 403"), "{head}");
    assert_eq!(body, "Audiences in Jwt are not allowed");
}

/// A header that only a token may fill says nothing to policies either, if it is the caller's own.
#[tokio::test]
async fn policies_see_the_headers_that_the_application_sees() {
    let issuer = Issuer::new();
    let rules = issuer.rules();
    let policy = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: named, namespace: default }
spec:
  rules: [ { when: [ { key: 'request.headers[x-user]', values: [ada, root] } ] } ]
";
    let scene = Scene::start(&[&rules, policy]).await;
    assert_eq!(scene.status("/", &[spoofed()]).await, 403);
    let token = bearer(&issuer.token(300));
    assert_eq!(scene.status("/", &[token]).await, 200);
    // The control: without the filter it is anybody's header.
    let open = Scene::start(&[policy]).await;
    assert_eq!(open.status("/", &[spoofed()]).await, 200);
}

/// The control: it is the filter that makes something of a token.
#[tokio::test]
async fn without_the_rules_a_token_changes_nothing() {
    let issuer = Issuer::new();
    let scene = Scene::start(&[POLICY]).await;
    let good = issuer.token(300);
    let elsewhere = Scene::start(&[&issuer.rules_for("reviews"), POLICY]).await;
    for headers in [vec![], vec![bearer(&good)], vec![bearer("x")]] {
        assert_eq!(scene.status("/", &headers).await, 403);
        assert_eq!(elsewhere.status("/", &headers).await, 403);
    }
    let rules = issuer.rules();
    scene.push(&[&rules, POLICY]);
    until("the rules", async || {
        scene.status("/", &[bearer(&good)]).await == 200
    })
    .await;
    // Keys that go take their tokens with them.
    let others = Issuer::new().rules();
    scene.push(&[&others, POLICY]);
    until("the other keys", async || {
        scene.status("/", &[bearer(&good)]).await == 401
    })
    .await;
    assert_eq!(scene.mesh.stats().closed.values().sum::<u64>(), 0);
}
