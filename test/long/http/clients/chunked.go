// Sends a chunked body of os.Args[2] bytes and then a small batch on the same connection; prints both statuses.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

type spaces struct{}

func (spaces) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = ' '
	}
	return len(into), nil
}

func post(url string, body io.Reader) int {
	answer, err := http.Post(url, "application/json", body)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func main() {
	url := os.Args[1] + "/api/signals/batch"
	size, _ := strconv.ParseInt(os.Args[2], 10, 64)
	long := post(url, io.LimitReader(spaces{}, size))
	short := post(url, strings.NewReader(`{"signals":[{"context_window_id":"after"}]}`))
	fmt.Println(long, short)
}
