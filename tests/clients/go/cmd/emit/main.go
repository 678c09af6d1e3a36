// Command emit sends the lines of its standard input through go-loggregator's ingress client: the producer for
// consumers that are written in other languages.
//
//	emit --endpoints FILE --source-id ID < lines
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"code.cloudfoundry.org/go-loggregator/v10"
)

func main() {
	endpoints := flag.String("endpoints", os.Getenv("WEIR_ENDPOINTS"), "endpoints.json of the stack")
	source := flag.String("source-id", "", "source id of the lines")
	flag.Parse()
	if err := run(*endpoints, *source); err != nil {
		fmt.Fprintln(os.Stderr, "emit:", err)
		os.Exit(1)
	}
}

func run(endpoints, source string) error {
	text, err := os.ReadFile(endpoints)
	if err != nil {
		return err
	}
	var stack struct {
		CA         string `json:"ca"`
		ClientCert string `json:"client_cert"`
		ClientKey  string `json:"client_key"`
		Agent      string `json:"agent"`
	}
	if err := json.Unmarshal(text, &stack); err != nil {
		return err
	}
	config, err := loggregator.NewIngressTLSConfig(stack.CA, stack.ClientCert, stack.ClientKey)
	if err != nil {
		return err
	}
	client, err := loggregator.NewIngressClient(config, loggregator.WithAddr(stack.Agent),
		loggregator.WithBatchFlushInterval(10*time.Millisecond))
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		client.EmitLog(lines.Text(), loggregator.WithSourceInfo(source, "APP/PROC/WEB", "0"), loggregator.WithStdout())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return client.CloseSend()
}
