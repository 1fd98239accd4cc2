// A QUIC client and server of another stack, for the cases of QuicGo.test.ts. One line of JSON is the answer.
package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quic-go/quic-go"
)

var (
	address     = flag.String("address", "127.0.0.1:0", "where to dial or listen")
	alpn        = flag.String("alpn", "", "the only protocol that is offered")
	serverName  = flag.String("server-name", "", "SNI of the client")
	certificate = flag.String("certificate", "", "PEM file")
	key         = flag.String("key", "", "PEM file")
	size        = flag.Int("bytes", 100, "bytes that the client sends")
)

type answer struct {
	Alpn string `json:"alpn"`
	// Whether all bytes came back.
	Same bool `json:"same"`
	// The code with which the other side ended the connection.
	Code uint64 `json:"code"`
	// The Ed25519 key that the other side has proven, in hex.
	Peer string `json:"peer"`
	// Where the server listens.
	Address string `json:"address"`
}

func tell(told answer) {
	line, _ := json.Marshal(told)
	fmt.Println(string(line))
}

func peerOf(connection quic.Connection) string {
	for _, certificate := range connection.ConnectionState().TLS.PeerCertificates {
		if key, isEd25519 := certificate.PublicKey.(ed25519.PublicKey); isEd25519 {
			return hex.EncodeToString(key)
		}
	}
	return ""
}

func echo(ctx context.Context, connection quic.Connection) (bool, error) {
	stream, err := connection.OpenStreamSync(ctx)
	if err != nil {
		return false, err
	}
	sent := bytes.Repeat([]byte("0123456789abcdefg"), *size/17+1)[:*size]
	written := make(chan error, 1)
	go func() {
		_, err := stream.Write(sent)
		written <- errors.Join(err, stream.Close())
	}()
	received, err := io.ReadAll(stream)
	if err == nil {
		err = <-written
	}
	return bytes.Equal(sent, received), err
}

func client(ctx context.Context, configuration *tls.Config) error {
	connection, err := quic.DialAddr(ctx, *address, configuration, nil)
	told := answer{}
	if err == nil {
		told.Alpn = connection.ConnectionState().TLS.NegotiatedProtocol
		told.Peer = peerOf(connection)
		told.Same, err = echo(ctx, connection)
		connection.CloseWithError(0, "")
	}
	var refused *quic.TransportError
	if errors.As(err, &refused) && refused.Remote {
		told.Code = uint64(refused.ErrorCode)
		err = nil
	}
	tell(told)
	return err
}

func server(ctx context.Context, configuration *tls.Config) error {
	configuration.ClientAuth = tls.RequireAnyClientCert
	listener, err := quic.ListenAddr(*address, configuration, nil)
	if err != nil {
		return err
	}
	tell(answer{Address: listener.Addr().String()})
	connection, err := listener.Accept(ctx)
	if err != nil {
		return err
	}
	tell(answer{Alpn: connection.ConnectionState().TLS.NegotiatedProtocol, Peer: peerOf(connection)})
	stream, err := connection.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(stream, stream); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	<-connection.Context().Done()
	return nil
}

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	configuration := &tls.Config{
		NextProtos: []string{*alpn},
		ServerName: *serverName,
		// Nodes show certificates that they signed themselves; the test looks at the key.
		InsecureSkipVerify: true,
		// Without the post-quantum share the ClientHello fits into one datagram, as ID-R19 asks of a dialer.
		CurvePreferences: []tls.CurveID{tls.X25519},
	}
	var err error
	if *certificate != "" {
		pair, failed := tls.LoadX509KeyPair(*certificate, *key)
		configuration.Certificates, err = []tls.Certificate{pair}, failed
	}
	if err == nil && flag.Arg(0) == "server" {
		err = server(ctx, configuration)
	} else if err == nil {
		err = client(ctx, configuration)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
