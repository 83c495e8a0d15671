// A client of featurestore in Go, over code that protoc made from the contract: it reads, is refused, meets a deadline, and writes
// a stream. It prints what came of that as JSON, for test_clients.py; docs/clients.md quotes it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "featurestore/v1"
)

// connect takes the file of the authorities to trust; without one it does not speak TLS.
func connect(address, authorities string) (*grpc.ClientConn, error) {
	if authorities == "" {
		return grpc.Dial(address, grpc.WithInsecure()) // newer: grpc.NewClient, insecure.NewCredentials()
	}
	trusted, err := credentials.NewClientTLSFromFile(authorities, "")
	if err != nil {
		return nil, err
	}
	return grpc.Dial(address, grpc.WithTransportCredentials(trusted))
}

// texts makes a column of strings: one buffer, and where each begins.
func texts(name string, values ...string) *pb.Column {
	column := &pb.Column{Name: name, Offsets: []int32{0}}
	for _, value := range values {
		column.Data = append(column.Data, value...)
		column.Offsets = append(column.Offsets, int32(len(column.Data)))
	}
	return column
}

func fetch(store pb.FeatureStoreClient, service string, carriers ...string) (*pb.GetFeaturesResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return store.GetFeatures(ctx, &pb.GetFeaturesRequest{
		Selection: &pb.FeatureSelection{Service: service},
		Keys:      []*pb.Column{texts("carrier", carriers...)},
	})
}

// statusOf tells what became of a value: NOT_FOUND and EXPIRED are the row's, NULL is the value's own.
func statusOf(answer *pb.GetFeaturesResponse, row, feature int) pb.ValueStatus {
	features, view := len(answer.Schema.Features), int(answer.Schema.Features[feature].ViewIndex)
	if answer.RowStatuses != nil {
		if found := answer.RowStatuses[view*int(answer.Rows)+row]; found != 0 {
			return pb.ValueStatus(found)
		}
	}
	if answer.Nulls != nil && answer.Nulls[row*((features+7)/8)+feature/8]>>(feature%8)&1 == 1 {
		return pb.ValueStatus_NULL
	}
	return pb.ValueStatus_PRESENT
}

// ingest sends all batches, then returns how far the server has acknowledged them.
func ingest(ctx context.Context, store pb.FeatureStoreClient, view string, batches []*pb.WriteBatch) (*pb.IngestFeaturesResponse, error) {
	stream, err := store.IngestFeatures(ctx)
	if err != nil {
		return nil, err
	}
	for number, batch := range batches {
		request := &pb.IngestFeaturesRequest{View: view, Sequence: uint64(number + 1), Batch: batch}
		if err := stream.Send(request); err != nil {
			break // Recv says why
		}
	}
	stream.CloseSend()
	var last *pb.IngestFeaturesResponse
	for {
		acknowledged, err := stream.Recv()
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = acknowledged
	}
}

// withKey sends an API key with the calls that are made with the context.
func withKey(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

type seen map[string]interface{}

func rows(answer *pb.GetFeaturesResponse) (values, statuses [][]interface{}) {
	features := len(answer.Schema.Features)
	for row := 0; row < int(answer.Rows); row++ {
		var rowValues, rowStatuses []interface{}
		for feature := 0; feature < features; feature++ {
			var value interface{} // null in JSON, which has no NaN
			if got := answer.Matrix.Float32S[row*features+feature]; !math.IsNaN(float64(got)) {
				value = got
			}
			rowValues = append(rowValues, value)
			rowStatuses = append(rowStatuses, statusOf(answer, row, feature).String())
		}
		values, statuses = append(values, rowValues), append(statuses, rowStatuses)
	}
	return values, statuses
}

func failure(err error) seen {
	return seen{"code": int(status.Code(err)), "message": status.Convert(err).Message()}
}

// lateness opens a stream, sends nothing, and waits for its deadline.
func lateness(store pb.FeatureStoreClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	stream, err := store.IngestFeatures(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

func run(store pb.FeatureStoreClient) (seen, error) {
	answer, err := fetch(store, "delay_model_v1", "UA", "AA", "ZZ")
	if err != nil {
		return nil, err
	}
	values, statuses := rows(answer)
	_, unknown := fetch(store, "delay_model_ü", "UA")
	late := lateness(store)
	batch := func(carrier string) *pb.WriteBatch {
		return &pb.WriteBatch{
			Keys:     []*pb.Column{texts("carrier", carrier)},
			Features: []*pb.Column{{Name: "mean_delay", Float32S: []float32{1.5}}},
		}
	}
	last, err := ingest(context.Background(), store, "carrier_delays", []*pb.WriteBatch{batch("G1"), batch("G2")})
	if err != nil {
		return nil, err
	}
	return seen{
		"values": values, "statuses": statuses, "error": failure(unknown), "deadline": failure(late)["code"],
		"ingested": seen{"sequence": last.Sequence, "rows": last.Counts.Rows},
	}, nil
}

// runSecured reads with the key, and then without it.
func runSecured(store pb.FeatureStoreClient, key string) (seen, error) {
	request := &pb.ListFeatureServicesRequest{}
	listed, err := store.ListFeatureServices(withKey(context.Background(), key), request)
	if err != nil {
		return nil, err
	}
	_, refused := store.ListFeatureServices(context.Background(), request)
	return seen{"services": len(listed.FeatureServices), "error": failure(refused)}, nil
}

func main() {
	authorities := flag.String("ca", "", "PEM file of the authorities to trust")
	key := flag.String("key", "", "API key")
	flag.Parse()
	connection, err := connect(flag.Arg(0), *authorities)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer connection.Close()
	store := pb.NewFeatureStoreClient(connection)
	var found seen
	if *key != "" {
		found, err = runSecured(store, *key)
	} else {
		found, err = run(store)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(found)
}
