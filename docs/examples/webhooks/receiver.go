// Takes signed webhook calls on a port, with nothing but Go's standard library.
//
//	WEBHOOK_SECRET=whsec_... go run receiver.go 8025
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Of an older call somebody may have kept a copy.
const tolerance = 5 * time.Minute

type event struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// verify returns what a call says, or an error when it is not mailrelay's, or not of now.
// body is what came, byte for byte.
func verify(secret string, header http.Header, body []byte) (told event, err error) {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return told, errors.New("there is no timestamp")
	}
	age := time.Since(time.Unix(seconds, 0))
	if age > tolerance || age < -tolerance {
		return told, errors.New("the timestamp is not of now")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return told, errors.New("the secret is not as it was told")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := mac.Sum(nil)
	// While a secret is replaced there are several: one that fits is enough.
	for _, given := range strings.Split(header.Get("webhook-signature"), " ") {
		if !strings.HasPrefix(given, "v1,") {
			continue
		}
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(given, "v1,"))
		if err == nil && hmac.Equal(signature, expected) {
			return told, json.Unmarshal(body, &told)
		}
	}
	return told, errors.New("no signature fits")
}

func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body is incomplete", http.StatusBadRequest)
		return
	}
	told, err := verify(os.Getenv("WEBHOOK_SECRET"), r.Header, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	// Here: if this id was seen before, do nothing.
	fmt.Println(told.Type, r.Header.Get("webhook-id"))
	// Any 2xx takes the call; after anything else it is made again.
	w.WriteHeader(http.StatusNoContent)
}

func main() {
	http.HandleFunc("/", receive)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
