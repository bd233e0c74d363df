// A control plane on go-control-plane: its snapshot cache and its ADS server, in both variants, on loopback.
//
//	go-control-plane [-listen 127.0.0.1:0] [-ads=true] V1 V2 RATINGS
//
// The arguments are the endpoints' addresses. The first line that it prints is its own; after that one line for each
// command that it reads:
//
//	split W1 W2   reviews goes to V1 and V2 by these weights, ratings to RATINGS; prints "version N"
//	remove        the same without the virtual host of reviews
//	seen          prints "opened N, nacked N": ADS streams, and requests with an error_detail, so far
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
	logger := xdslog.LoggerFuncs{DebugFunc: log.Printf, InfoFunc: log.Printf, WarnFunc: log.Printf, ErrorFunc: log.Printf}
	snapshots := cache.NewSnapshotCache(*ads, everyNode{}, logger)
	var clients seen
	served := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(served,
		server.NewServer(context.Background(), snapshots, clients.callbacks()))
	go func() { log.Fatal(served.Serve(listener)) }()

	fmt.Println(listener.Addr())
	if err := obey(snapshots, endpoints, &clients); err != nil {
		log.Fatal(err)
	}
}

// Reads commands until `quit` or the end of the input.
func obey(snapshots cache.SnapshotCache, endpoints endpoints, clients *seen) error {
	input := bufio.NewScanner(os.Stdin)
	version := 0
	for input.Scan() {
		words := strings.Fields(input.Text())
		if len(words) == 0 {
			continue
		}
		var weights []uint32
		switch {
		case words[0] == "quit":
			return nil
		case words[0] == "seen":
			fmt.Printf("opened %d, nacked %d\n", clients.streams.Load(), clients.nacks.Load())
			continue
		case words[0] == "remove":
		case words[0] == "split" && len(words) == 3:
			for _, word := range words[1:] {
				weight, err := strconv.ParseUint(word, 10, 32)
				if err != nil {
					return fmt.Errorf("split: %w", err)
				}
				weights = append(weights, uint32(weight))
			}
		default:
			return fmt.Errorf("there is no command %q", input.Text())
		}
		version++
		// A restarted server counts from 1 again, as go-control-plane's own examples do.
		snapshot, err := cache.NewSnapshot(strconv.Itoa(version), endpoints.resources(weights))
		if err != nil {
			return err
		}
		if err := snapshots.SetSnapshot(context.Background(), allNodes, snapshot); err != nil {
			return err
		}
		fmt.Printf("version %d\n", version)
	}
	return input.Err()
}
