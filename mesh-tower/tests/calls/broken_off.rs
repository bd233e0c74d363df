//! Responses that break off after they have begun are counted where the reader finds out.

use bytes::Bytes;
use http_body_util::BodyExt;
use mesh_tower::Sent;

use crate::support::stage::Stage;
use crate::support::{Folder, URL};

#[tokio::test]
async fn a_body_that_breaks_off_is_counted_by_its_flag() {
    for (protocol, breaks) in [("HTTP", true), ("HTTP2", true), ("HTTP", false)] {
        let mut stage = Stage::start().await;
        let folder = Folder::reviews(protocol, &[("v1", stage.backend.address)]);
        let mesh = folder.mesh(1);
        let client = mesh.client();
        let call = tokio::spawn(async move { client.get(URL).await });
        let rest = stage.arrival().await.begin();
        rest.send(Ok(Bytes::from_static(b"part"))).unwrap();
        let mut body = call.await.unwrap().unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        assert!(mesh.stats().errors.is_empty(), "so far it was answered");
        if breaks {
            rest.send(Err(std::io::Error::other("disk on fire")))
                .unwrap();
        }
        drop(rest);
        let read = body.bytes().await;
        if breaks {
            let error = read.unwrap_err();
            assert_eq!(
                (error.flags(), error.sent()),
                ("UPE", Sent::Processed),
                "{error}"
            );
            assert!(error.is_reset() && !error.is_timeout());
            assert_eq!(mesh.stats().errors.get("UPE"), Some(&1));
        } else {
            assert_eq!(read.unwrap(), "");
            assert!(mesh.stats().errors.is_empty());
        }
    }
}
