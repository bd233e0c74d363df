//! `bookinfo.Ratings`: what ratings answers by HTTP, by gRPC.
//!
//! The port is the same one: an HTTP/2 request for the path of the service is a call of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tonic::{Request, Response, Status};

use self::generated::ratings_server::{Ratings as Serve, RatingsServer};
use super::{Ratings, UNAVAILABLE, Unavailable};

mod generated {
    // It is tonic's.
    #![allow(missing_docs, unreachable_pub, clippy::too_many_lines)]
    tonic::include_proto!("bookinfo.Ratings");
}

pub use self::generated::ratings_client::RatingsClient;

/// The path of the one method: what a rule for it matches.
pub const METHOD: &str = "/bookinfo.Ratings/Get";

/// Every method of the service, those that do not exist as well: these are UNIMPLEMENTED, and not 404.
pub(super) const ROUTE: &str = "/bookinfo.Ratings/{*method}";

/// What is asked: the stars of a product.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Product {
    /// Its number.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stars {
    /// The product's number.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// How many stars each reviewer gave.
    #[prost(btree_map = "string, int64", tag = "2")]
    pub ratings: BTreeMap<String, i64>,
}

/// The service, beside the HTTP one of the same state.
pub(super) fn service(state: Arc<Ratings>) -> RatingsServer<Ratings> {
    RatingsServer::from_arc(state)
}

#[tonic::async_trait]
impl Serve for Ratings {
    async fn get(&self, request: Request<Product>) -> Result<Response<Stars>, Status> {
        let id = request.into_inner().id;
        let unavailable = |Unavailable| Status::unavailable(UNAVAILABLE);
        let ratings = self.ratings(id).await.map_err(unavailable)?;
        // By HTTP anything can be stored; what is no number has no place in the message.
        let number = |(name, stars): (String, Value)| Some((name, stars.as_i64()?));
        let ratings: Option<_> = ratings.into_iter().map(number).collect();
        let ratings = ratings.ok_or_else(|| {
            Status::failed_precondition(format!("what is stored for product {id} are no stars"))
        })?;
        Ok(Response::new(Stars { id, ratings }))
    }
}
