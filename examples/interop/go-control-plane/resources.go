package main

import (
	"fmt"
	"net/netip"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	port      = 9080
	reviewsV1 = "reviews-v1"
	reviewsV2 = "reviews-v2"
	ratings   = "ratings"
)

// The clusters' addresses.
type endpoints map[string]netip.AddrPort

func parseEndpoints(arguments []string) (endpoints, error) {
	parsed := endpoints{}
	for i, name := range []string{reviewsV1, reviewsV2, ratings} {
		if err := parsed.set(name, arguments[i]); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

func (e endpoints) set(name, text string) error {
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return fmt.Errorf("the address of %s: %w", name, err)
	}
	e[name] = address
	return nil
}

// Everything; without weights there is no virtual host of reviews. Its clusters stay.
func (e endpoints) resources(weights []uint32) map[resource.Type][]types.Resource {
	routes := &route.RouteConfiguration{Name: fmt.Sprint(port)}
	if weights != nil {
		routes.VirtualHosts = append(routes.VirtualHosts, virtualHost("reviews", fmt.Sprintf("split-%d-%d", weights[0], weights[1]), split(weights)))
	}
	routes.VirtualHosts = append(routes.VirtualHosts, virtualHost("ratings", "all", &route.RouteAction{
		ClusterSpecifier: &route.RouteAction_Cluster{Cluster: ratings},
	}))
	all := map[resource.Type][]types.Resource{resource.RouteType: {routes}}
	for name, address := range e {
		all[resource.ClusterType] = append(all[resource.ClusterType], edsCluster(name))
		all[resource.EndpointType] = append(all[resource.EndpointType], assignment(name, address))
	}
	return all
}

// A virtual host with one route, under the names by which a sidecar in namespace `default` knows a service.
func virtualHost(service, routeName string, action *route.RouteAction) *route.VirtualHost {
	host := service + ".default.svc.cluster.local"
	var domains []string
	for _, name := range []string{host, service, service + ".default", service + ".default.svc"} {
		domains = append(domains, name, fmt.Sprintf("%s:%d", name, port))
	}
	return &route.VirtualHost{
		Name:    fmt.Sprintf("%s:%d", host, port),
		Domains: domains,
		Routes: []*route.Route{{
			Name:   routeName,
			Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_Route{Route: action},
		}},
	}
}

func split(weights []uint32) *route.RouteAction {
	clusters := &route.WeightedCluster{}
	for i, name := range []string{reviewsV1, reviewsV2} {
		clusters.Clusters = append(clusters.Clusters, &route.WeightedCluster_ClusterWeight{
			Name: name, Weight: wrapperspb.UInt32(weights[i]),
		})
	}
	return &route.RouteAction{ClusterSpecifier: &route.RouteAction_WeightedClusters{WeightedClusters: clusters}}
}

func edsCluster(name string) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(1e9),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: &core.ConfigSource{
			ResourceApiVersion:    core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}},
	}
}

func assignment(name string, address netip.AddrPort) *endpoint.ClusterLoadAssignment {
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
					Address:       address.Addr().String(),
					PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(address.Port())},
				}}},
			}},
		}}}},
	}
}
