// Shouts: standard input in capitals goes to a file of the job's own and to standard output, with what it was given.
//
//	GOOS=wasip1 GOARCH=wasm go build -o shout.wasm shout.go
//	echo hello | wasmq run shout.wasm -- some arguments
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	arguments := os.Args[1:]
	if len(arguments) > 0 && arguments[0] == "fail" {
		panic("told to fail")
	}
	text, err := io.ReadAll(os.Stdin)
	check(err)
	check(os.MkdirAll("made/deep", 0o755))
	check(os.WriteFile("made/out.txt", []byte(strings.ToUpper(string(text))), 0o644))
	entries, err := os.ReadDir("made")
	check(err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	start := time.Now()
	woken := make(chan time.Duration)
	go func() {
		time.Sleep(20 * time.Millisecond)
		woken <- time.Since(start)
	}()
	slept := <-woken
	_, absent := os.Stat("/absent")
	shouted, err := os.ReadFile("/made/out.txt")
	check(err)
	fmt.Printf("arguments: %s\n", strings.Join(arguments, "|"))
	fmt.Printf("NAME: %s\n", os.Getenv("NAME"))
	fmt.Printf("made: %s\n", strings.Join(names, " "))
	fmt.Printf("slept: %t\n", slept >= 20*time.Millisecond)
	fmt.Printf("absent: %t\n", absent != nil)
	fmt.Print(string(shouted))
	os.Exit(3)
}
