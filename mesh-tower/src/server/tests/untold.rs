//! What logs tell of a request's target.

use std::sync::Arc;

use http::Request;
use mesh_core::jwt::{DEFAULT_CLOCK_SKEW, Expiration, Keys, Places, Provider, Rules};
use mesh_core::server::Step;

use super::scene::{Scene, permissive};
use crate::PeerIdentity;
use crate::server::connection::{Began, Connection};
use crate::server::untold::told;

const ORIGINAL_PATH: &str = "x-envoy-original-path";

fn rules() -> Rules {
    let provider = Provider {
        name: "p".into(),
        issuer: None,
        audiences: None,
        subjects: None,
        expiration: Expiration::Optional,
        clock_skew: DEFAULT_CLOCK_SKEW,
        keys: Keys::Unusable("none".into()),
        places: Places::default(),
        forward: true,
        payload_header: None,
        claim_to_headers: Box::default(),
        payload_in_metadata: None,
        header_in_metadata: None,
        space_delimited_claims: Box::default(),
    };
    Rules::new([Arc::new(provider)], [], false, false)
}

#[tokio::test]
async fn what_is_told_has_no_tokens_and_what_is_served_has_them() {
    let scene = Scene::ruled(&permissive([Step::Jwt(rules())]));
    let door = &scene.mesh.shared.door;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9080));
    let permit = door.security.inbound("test").unwrap();
    let connection = Connection::enter(door, address, Began::Plaintext(permit)).unwrap();
    for (target, bare) in [
        ("/a?access_token=x", "/a"),
        (
            "http://h/a?b=1&access_token=x&access%5Ftoken=y&c",
            "http://h/a?b=1&c",
        ),
        (
            "/a?x_access_token=x&access_token_x",
            "/a?x_access_token=x&access_token_x",
        ),
        ("/a", "/a"),
    ] {
        let mut request = Request::get(target)
            .header(ORIGINAL_PATH, "/old?access_token=x&b")
            .header(ORIGINAL_PATH, "/older")
            .body(())
            .unwrap();
        let lines = request.headers().clone();
        request.extensions_mut().insert(PeerIdentity {
            address,
            connection: Arc::clone(&connection),
        });
        let seen = told(&mut request, |request| {
            (
                request.uri().clone(),
                request.headers()[ORIGINAL_PATH].clone(),
            )
        });
        assert_eq!(seen.0, bare, "{target}");
        assert_eq!(seen.1, "/old?b");
        assert_eq!(*request.uri(), target);
        assert_eq!(*request.headers(), lines);
    }
}
