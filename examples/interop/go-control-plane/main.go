// A control plane on go-control-plane: its snapshot cache and its ADS server, in both variants, on loopback.
//
//	go-control-plane [-listen 127.0.0.1:0] [-ads=true] V1 V2 RATINGS
//
// The arguments are the endpoints' addresses. The first line that it prints is its own; after that one line for each
// command that it reads:
//
//	split W1 W2   reviews goes to V1 and V2 by these weights, by a route named split-W1-W2, and ratings to RATINGS;
//	              prints "version N", as the next two do
//	remove        the same without the virtual host of reviews, whose clusters stay
//	move RATINGS  the routes as they are, and another endpoint of ratings
//	seen          prints "streams N, nacks N, unanswered N, endpoints N": ADS streams, requests with an error_detail,
//	              and answers that the cache's ADS mode kept back, so far; and how many names the last request for
//	              endpoints had by state of the world
//	quit          ends it, as the end of its input does
//
// Until the first command it has no snapshot, and answers nothing.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	xdslog "github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// One snapshot for every node: the hash of the library is the node's id, which only the client knows.
type everyNode struct{}

const allNodes = "all"

func (everyNode) ID(*core.Node) string { return allNodes }

// What the clients did.
type seen struct {
	streams atomic.Int64
	nacks   atomic.Int64
	// Requests and edits after which the cache kept its answer to itself.
	unanswered atomic.Int64
	endpoints  atomic.Int64
}

// The snapshot cache, which is asked through this one; what it counts is in force when it is counted.
type watchedCache struct {
	cache.SnapshotCache
	seen *seen
}

func (c watchedCache) CreateWatch(
	request *cache.Request, subscription cache.Subscription, answers chan cache.Response,
) (func(), error) {
	cancel, err := c.SnapshotCache.CreateWatch(request, subscription, answers)
	if request.GetTypeUrl() == resource.EndpointType {
		c.seen.endpoints.Store(int64(len(request.GetResourceNames())))
	}
	return cancel, err
}

func (s *seen) callbacks() server.Callbacks {
	opened := func(context.Context, int64, string) error { s.streams.Add(1); return nil }
	return server.CallbackFuncs{
		StreamOpenFunc:      opened,
		DeltaStreamOpenFunc: opened,
		StreamRequestFunc: func(_ int64, request *discovery.DiscoveryRequest) error {
			s.judge(request.GetTypeUrl(), request.GetErrorDetail().GetMessage(), request.GetErrorDetail().GetCode())
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, request *discovery.DeltaDiscoveryRequest) error {
			s.judge(request.GetTypeUrl(), request.GetErrorDetail().GetMessage(), request.GetErrorDetail().GetCode())
			return nil
		},
	}
}

func (s *seen) judge(typeURL, message string, code int32) {
	if message != "" || code != int32(codes.OK) {
		s.nacks.Add(1)
		log.Printf("NACK of %s: %s", typeURL, message)
	}
}

// What the cache says of interest; it has no other door that tells of an answer that it kept to itself.
func (s *seen) logger() xdslog.Logger {
	return xdslog.LoggerFuncs{
		WarnFunc: func(format string, values ...interface{}) {
			if strings.HasPrefix(format, "ADS mode: not responding") {
				s.unanswered.Add(1)
			}
			log.Printf(format, values...)
		},
		ErrorFunc: log.Printf,
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to serve ADS")
	ads := flag.Bool("ads", true, "the cache's ADS mode: no answer to a list of names that lacks one of the snapshot's")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("go-control-plane: ")
	if flag.NArg() != 3 {
		log.Fatal("it takes three addresses: of reviews v1, of reviews v2, of ratings")
	}
	endpoints, err := parseEndpoints(flag.Args())
	if err != nil {
		log.Fatal(err)
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	var clients seen
	snapshots := cache.NewSnapshotCache(*ads, everyNode{}, clients.logger())
	served := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(served,
		server.NewServer(context.Background(), watchedCache{snapshots, &clients}, clients.callbacks()))
	go func() { log.Fatal(served.Serve(listener)) }()

	fmt.Println(listener.Addr())
	if err := obey(snapshots, endpoints, &clients); err != nil {
		log.Fatal(err)
	}
}

// Reads commands until `quit` or the end of the input.
func obey(snapshots cache.SnapshotCache, endpoints endpoints, clients *seen) error {
	input := bufio.NewScanner(os.Stdin)
	var weights []uint32
	for version := 1; input.Scan(); {
		words := strings.Fields(input.Text())
		switch {
		case len(words) == 1 && words[0] == "quit":
			return nil
		case len(words) == 1 && words[0] == "seen":
			fmt.Printf("streams %d, nacks %d, unanswered %d, endpoints %d\n", clients.streams.Load(),
				clients.nacks.Load(), clients.unanswered.Load(), clients.endpoints.Load())
			continue
		case len(words) == 1 && words[0] == "remove":
			weights = nil
		case len(words) == 3 && words[0] == "split":
			var err error
			if weights, err = parseWeights(words[1:]); err != nil {
				return err
			}
		case len(words) == 2 && words[0] == "move":
			if err := endpoints.set(ratings, words[1]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("there is no command %q", input.Text())
		}
		// A restarted server counts from 1 again: what a client has must not hide what is new.
		snapshot, err := cache.NewSnapshot(strconv.Itoa(version), endpoints.resources(weights))
		if err != nil {
			return err
		}
		if err := snapshots.SetSnapshot(context.Background(), allNodes, snapshot); err != nil {
			return err
		}
		fmt.Printf("version %d\n", version)
		version++
	}
	return input.Err()
}

func parseWeights(words []string) ([]uint32, error) {
	var weights []uint32
	for _, word := range words {
		weight, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("a weight: %w", err)
		}
		weights = append(weights, uint32(weight))
	}
	return weights, nil
}
