// The fast way with Go: net/http, encoding/json, one prepared statement over arrays by pgx.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type signal struct {
	ContextWindowID     *string         `json:"context_window_id"`
	Timestamp           *string         `json:"timestamp"`
	RawContent          *string         `json:"raw_content"`
	SignalSource        *string         `json:"signal_source"`
	SignalScore         *float64        `json:"signal_score"`
	SignalVector        *string         `json:"signal_vector"`
	EmotionalTone       *float64        `json:"emotional_tone"`
	EscalateFlag        *int16          `json:"escalate_flag"`
	AgentID             *string         `json:"agent_id"`
	UserID              *string         `json:"user_id"`
	Payload             json.RawMessage `json:"payload"`
	RelationshipContext *string         `json:"relationship_context"`
	DiagnosticNotes     *string         `json:"diagnostic_notes"`
}

type batch struct {
	Signals     []signal `json:"signals"`
	FailOnError *bool    `json:"fail_on_error"`
}

type result struct {
	Index    int     `json:"index"`
	Success  bool    `json:"success"`
	SignalID *int64  `json:"signal_id"`
	Error    *string `json:"error"`
}

const statement = `
insert into signals (transaction_id, time, context_window_id, raw_content, signal_source, signal_score, signal_vector,
  emotional_tone, escalate_flag, agent_id, user_id, payload, relationship_context, diagnostic_notes)
select $1, s.time, s.context_window_id, s.raw_content, s.signal_source, s.signal_score, s.signal_vector, s.emotional_tone,
  s.escalate_flag, s.agent_id, s.user_id, s.payload::jsonb, s.relationship_context, s.diagnostic_notes
from unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::text[], $8::float8[], $9::int2[],
  $10::text[], $11::text[], $12::text[], $13::text[], $14::text[]) with ordinality
  as s (time, context_window_id, raw_content, signal_source, signal_score, signal_vector, emotional_tone, escalate_flag,
  agent_id, user_id, payload, relationship_context, diagnostic_notes, place)
order by s.place returning id`

func isName(text *string) bool {
	return text == nil || (len(*text) > 0 && utf8.RuneCountInString(*text) <= 255)
}

func isShare(value *float64) bool { return value == nil || (*value >= 0 && *value <= 1) }

func timeOf(text *string, now time.Time) (time.Time, error) {
	if text == nil {
		return now, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, *text); err == nil {
		return at, nil
	}
	return time.Parse("2006-01-02T15:04:05.999999999", *text)
}

func brokenRule(one *signal, at error) string {
	switch {
	case one.ContextWindowID == nil || !isName(one.ContextWindowID) || strings.TrimSpace(*one.ContextWindowID) == "":
		return "context_window_id must be 1 to 255 characters long"
	case !isName(one.SignalSource):
		return "signal_source must be 1 to 255 characters long"
	case !isShare(one.SignalScore):
		return "signal_score must be between 0 and 1"
	case !isShare(one.EmotionalTone):
		return "emotional_tone must be between 0 and 1"
	case one.EscalateFlag != nil && *one.EscalateFlag != 0 && *one.EscalateFlag != 1:
		return "escalate_flag must be 0 or 1"
	case at != nil:
		return "timestamp must be ISO 8601"
	case len(one.Payload) > 0 && one.Payload[0] != '{' && string(one.Payload) != "null":
		return "payload must be an object"
	}
	return ""
}

func or[T any](value *T, preset T) T {
	if value == nil {
		return preset
	}
	return *value
}

func newID() [16]byte {
	var id [16]byte
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

func store(ctx context.Context, pool *pgxpool.Pool, signals []signal) ([]result, error) {
	now := time.Now()
	results := make([]result, len(signals))
	size := len(signals)
	times, contexts := make([]time.Time, 0, size), make([]string, 0, size)
	sources, scores := make([]string, 0, size), make([]float64, 0, size)
	flags, tones := make([]int16, 0, size), make([]*float64, 0, size)
	contents, vectors := make([]*string, 0, size), make([]*string, 0, size)
	agents, users := make([]*string, 0, size), make([]*string, 0, size)
	payloads, relations, notes := make([]*string, 0, size), make([]*string, 0, size), make([]*string, 0, size)
	for index := range signals {
		one := &signals[index]
		at, err := timeOf(one.Timestamp, now)
		results[index].Index = index
		if broken := brokenRule(one, err); broken != "" {
			results[index].Error = &broken
			continue
		}
		results[index].Success = true
		times, contexts = append(times, at), append(contexts, *one.ContextWindowID)
		sources, scores = append(sources, or(one.SignalSource, "unknown")), append(scores, or(one.SignalScore, 0.5))
		flags, tones = append(flags, or(one.EscalateFlag, 0)), append(tones, one.EmotionalTone)
		contents, vectors = append(contents, one.RawContent), append(vectors, one.SignalVector)
		agents, users = append(agents, one.AgentID), append(users, one.UserID)
		relations, notes = append(relations, one.RelationshipContext), append(notes, one.DiagnosticNotes)
		var payload *string
		if len(one.Payload) > 0 && one.Payload[0] == '{' {
			text := string(one.Payload)
			payload = &text
		}
		payloads = append(payloads, payload)
	}
	if len(times) == 0 {
		return results, nil
	}
	rows, err := pool.Query(ctx, statement, newID(), times, contexts, contents, sources, scores, vectors, tones, flags, agents, users,
		payloads, relations, notes)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	for index, next := 0, 0; index < len(results); index++ {
		if results[index].Success {
			results[index].SignalID = &ids[next]
			next++
		}
	}
	return results, nil
}

func answer(response http.ResponseWriter, status int, body any) {
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(status)
	json.NewEncoder(response).Encode(body)
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /api/signals/batch", func(response http.ResponseWriter, request *http.Request) {
		var body batch
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			answer(response, 422, map[string]string{"detail": err.Error()})
			return
		}
		results, err := store(request.Context(), pool, body.Signals)
		if err != nil {
			answer(response, 500, map[string]string{"detail": err.Error()})
			return
		}
		answer(response, 200, map[string]any{"results": results})
	})
	http.HandleFunc("POST /api/signals", func(response http.ResponseWriter, request *http.Request) {
		var body signal
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			answer(response, 422, map[string]string{"detail": err.Error()})
			return
		}
		results, err := store(request.Context(), pool, []signal{body})
		switch {
		case err != nil:
			answer(response, 500, map[string]string{"detail": err.Error()})
		case !results[0].Success:
			answer(response, 422, map[string]string{"detail": *results[0].Error})
		default:
			answer(response, 201, map[string]int64{"id": *results[0].SignalID})
		}
	})
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%s", os.Getenv("PORT")), nil))
}
