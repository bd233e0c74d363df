//! Small builders for Envoy's messages.
//!
//! Two compilations of one configuration must give the same bytes, or every reload would look like a change. The
//! generated maps are hash maps, so a metadata with more than one key is written through an ordered twin of its
//! message (`google.protobuf.Struct`).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use envoy_types::pb::google::protobuf::{self, Any, Struct, Value, value::Kind};
use mesh_xds::ResourceType;
use prost::{Message, Name};

use crate::kinds::http_route::Share;

/// Istio's key in filter metadata.
pub(super) const ISTIO: &str = "istio";

/// A resource as it goes over the wire.
pub(super) fn pack(resource_type: ResourceType, message: &impl Message) -> Any {
    Any {
        type_url: resource_type.type_url().to_owned(),
        value: message.encode_to_vec(),
    }
}

/// A typed extension.
pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

pub(super) fn duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn uint32(value: u32) -> protobuf::UInt32Value {
    protobuf::UInt32Value { value }
}

pub(super) fn bool_value(value: bool) -> protobuf::BoolValue {
    protobuf::BoolValue { value }
}

pub(super) fn percent(share: Share) -> FractionalPercent {
    let (numerator, denominator) = match share {
        Share::Hundredths(n) => (n, DenominatorType::Hundred),
        Share::Millionths(n) => (n, DenominatorType::Million),
    };
    FractionalPercent {
        numerator,
        denominator: denominator.into(),
    }
}

/// Filter metadata of Istio with one key.
pub(super) fn istio_metadata(key: &str, value: String) -> core::Metadata {
    core::Metadata {
        filter_metadata: HashMap::from([(ISTIO.to_owned(), text_fields(key, value))]),
        ..core::Metadata::default()
    }
}

/// One text under a key.
pub(super) fn text_fields(key: &str, value: String) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(value)),
    };
    let fields = HashMap::from([(key.to_owned(), value)]);
    Struct { fields }
}

/// The name of a configuration object in Istio's metadata.
pub(super) fn config_path(kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")
}

/// The field `metadata` of a `Cluster` alone, to be appended to the bytes of a cluster without it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ClusterMetadata {
    #[prost(message, optional, tag = "25")]
    pub(super) metadata: Option<OrderedMetadata>,
}

/// `core.v3.Metadata`, ordered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OrderedMetadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) filter_metadata: BTreeMap<String, OrderedStruct>,
}

/// `google.protobuf.Struct`, ordered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OrderedStruct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) fields: BTreeMap<String, OrderedValue>,
}

/// `google.protobuf.Value`, ordered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OrderedValue {
    #[prost(oneof = "OrderedKind", tags = "3, 4, 5, 6")]
    pub(super) kind: Option<OrderedKind>,
}

/// The kinds of value that we write.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum OrderedKind {
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(OrderedStruct),
    #[prost(message, tag = "6")]
    List(OrderedList),
}

/// `google.protobuf.ListValue`, ordered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OrderedList {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<OrderedValue>,
}

impl From<&str> for OrderedValue {
    fn from(value: &str) -> Self {
        OrderedKind::String(value.to_owned()).into()
    }
}

impl From<OrderedKind> for OrderedValue {
    fn from(kind: OrderedKind) -> Self {
        Self { kind: Some(kind) }
    }
}

impl<'a> FromIterator<(&'a str, OrderedValue)> for OrderedStruct {
    fn from_iter<I: IntoIterator<Item = (&'a str, OrderedValue)>>(iter: I) -> Self {
        Self {
            fields: iter.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        }
    }
}

/// A route configuration, with the maps of its routes in order. Fields of a message may stand in any order, so each
/// level is written without what it holds, and that after it.
pub(super) fn pack_routes(mut from: route::RouteConfiguration) -> Any {
    let hosts = std::mem::take(&mut from.virtual_hosts);
    let holder = SecondOnly {
        values: hosts.into_iter().map(host_bytes).collect(),
    };
    Any {
        type_url: ResourceType::Route.type_url().to_owned(),
        value: [from.encode_to_vec(), holder.encode_to_vec()].concat(),
    }
}

fn host_bytes(mut host: route::VirtualHost) -> Vec<u8> {
    let routes = std::mem::take(&mut host.routes);
    let holder = RoutesOnly {
        routes: routes.into_iter().map(route_bytes).collect(),
    };
    [host.encode_to_vec(), holder.encode_to_vec()].concat()
}

fn route_bytes(mut route: route::Route) -> Vec<u8> {
    let filters = std::mem::take(&mut route.typed_per_filter_config);
    let holder = FiltersOnly {
        typed_per_filter_config: filters.into_iter().collect(),
    };
    [route.encode_to_vec(), holder.encode_to_vec()].concat()
}

/// The field 2 of a message alone: `virtual_hosts` of a `RouteConfiguration`, `endpoints` of a load assignment,
/// `lb_endpoints` of a locality.
#[derive(Clone, PartialEq, prost::Message)]
struct SecondOnly {
    #[prost(bytes = "vec", repeated, tag = "2")]
    values: Vec<Vec<u8>>,
}

/// The field `routes` of a `VirtualHost` alone.
#[derive(Clone, PartialEq, prost::Message)]
struct RoutesOnly {
    #[prost(bytes = "vec", repeated, tag = "3")]
    routes: Vec<Vec<u8>>,
}

/// The field `typed_per_filter_config` of a `Route` alone, ordered.
#[derive(Clone, PartialEq, prost::Message)]
struct FiltersOnly {
    #[prost(btree_map = "string, message", tag = "13")]
    typed_per_filter_config: BTreeMap<String, Any>,
}

/// A load assignment, with the metadata of its endpoints in order.
pub(super) fn pack_endpoints(from: endpoint::ClusterLoadAssignment) -> Any {
    Any {
        type_url: ResourceType::Endpoints.type_url().to_owned(),
        value: assignment_bytes(from),
    }
}

/// The same as the field `load_assignment` of a `Cluster`, to be appended to the bytes of a cluster without it.
pub(super) fn in_cluster(from: endpoint::ClusterLoadAssignment) -> Vec<u8> {
    let holder = AssignmentOnly {
        load_assignment: assignment_bytes(from),
    };
    holder.encode_to_vec()
}

fn assignment_bytes(mut from: endpoint::ClusterLoadAssignment) -> Vec<u8> {
    let localities = std::mem::take(&mut from.endpoints);
    let holder = SecondOnly {
        values: localities.into_iter().map(locality_bytes).collect(),
    };
    [from.encode_to_vec(), holder.encode_to_vec()].concat()
}

fn locality_bytes(mut from: endpoint::LocalityLbEndpoints) -> Vec<u8> {
    let endpoints = std::mem::take(&mut from.lb_endpoints);
    let holder = SecondOnly {
        values: endpoints.into_iter().map(endpoint_bytes).collect(),
    };
    [from.encode_to_vec(), holder.encode_to_vec()].concat()
}

/// Metadata that is said in parts is one (the rule of protobuf for messages that come twice).
fn endpoint_bytes(mut from: endpoint::LbEndpoint) -> Vec<u8> {
    let metadata = from.metadata.take().unwrap_or_default();
    let mut bytes = from.encode_to_vec();
    let parts: BTreeMap<_, _> = metadata.filter_metadata.into_iter().collect();
    for part in parts {
        let holder = endpoint::LbEndpoint {
            metadata: Some(core::Metadata {
                filter_metadata: HashMap::from([part]),
                ..core::Metadata::default()
            }),
            ..endpoint::LbEndpoint::default()
        };
        bytes.extend(holder.encode_to_vec());
    }
    bytes
}

/// The field `load_assignment` of a `Cluster` alone.
#[derive(Clone, PartialEq, prost::Message)]
struct AssignmentOnly {
    #[prost(bytes = "vec", tag = "33")]
    load_assignment: Vec<u8>,
}
