// client VM USER KNOWN_HOSTS PROXY_COMMAND COMMAND, with SSH_AUTH_SOCK: what a Go program does with golang.org/x/crypto/ssh.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(vm, user, knownHosts, proxyCommand, command string) error {
	socket, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return err
	}
	// The library reads the file before it connects, and the first connection fills it.
	check := ssh.InsecureIgnoreHostKey()
	if found, err := os.Stat(knownHosts); err == nil && found.Size() > 0 {
		if check, err = knownhosts.New(knownHosts); err != nil {
			return err
		}
	}
	config := &ssh.ClientConfig{
		User:            user,
		Auth:            []ssh.AuthMethod{ssh.PublicKeysCallback(agent.NewClient(socket).Signers)},
		HostKeyCallback: check,
		// The default order begins with the certificates and ECDSA; the file of a first login has the Ed25519 key.
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	}
	stream, err := proxied(proxyCommand)
	if err != nil {
		return err
	}
	connection, channels, requests, err := ssh.NewClientConn(stream, vm+":22", config)
	if err != nil {
		return err
	}
	client := ssh.NewClient(connection, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	output, err := session.Output(command)
	os.Stdout.Write(output)
	return err
}

// process is the stdin and stdout of a ProxyCommand as a connection.
type process struct {
	io.Reader
	io.WriteCloser
}

func proxied(command string) (net.Conn, error) {
	child := exec.Command("sh", "-c", "exec "+command)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return process{out, in}, child.Start()
}

func (process) LocalAddr() net.Addr              { return address{} }
func (process) RemoteAddr() net.Addr             { return address{} }
func (process) SetDeadline(time.Time) error      { return nil }
func (process) SetReadDeadline(time.Time) error  { return nil }
func (process) SetWriteDeadline(time.Time) error { return nil }

// address is what knownhosts takes for an unknown remote address.
type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "0.0.0.0:0" }
