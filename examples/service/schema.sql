-- For both engines. The queue's tables only say when to work; these hold the truth.
CREATE TABLE IF NOT EXISTS erasures (
    id              TEXT PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    fingerprint     TEXT NOT NULL,    -- of the account and the ids
    account         TEXT NOT NULL,
    state           TEXT NOT NULL,    -- queued, running, waiting or done
    reason          TEXT NOT NULL,    -- why it waits
    run             BIGINT NOT NULL   -- the run that owns it, or 0
);
CREATE TABLE IF NOT EXISTS conversations (
    erasure_id      TEXT NOT NULL REFERENCES erasures (id),
    id              TEXT NOT NULL,
    fate            TEXT NOT NULL,    -- open, or what became of it: see store.go
    sent_by         BIGINT NOT NULL,  -- the run that may have sent it and has not settled it, or 0
    doubt           BOOLEAN NOT NULL, -- whether a request without a clear answer may have deleted it
    UNIQUE (erasure_id, id)
);
