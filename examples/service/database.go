package main

import (
	"context"
	"database/sql"
	_ "embed"
	"net/url"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite" // database/sql's "sqlite"
)

//go:embed schema.sql
var schema string

// database is shared with the queue: an erasure and its job are committed together.
type database struct {
	*sql.DB
	queue  riverdriver.Driver[*sql.Tx]
	close  func()
	values string // SQL for a JSON array, $2, as rows: the only difference between the engines' queries
}

// openDatabase opens PostgreSQL if there is a URL, or else a file of SQLite.
func openDatabase(ctx context.Context, postgresURL, file string) (*database, error) {
	if postgresURL == "" {
		name := (&url.URL{Path: filepath.ToSlash(file)}).EscapedPath() // It may have characters that mean something in a URL.
		db, err := sql.Open("sqlite", "file:"+name+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(1) // SQLite has one writer; others would only wait for it.
		return &database{db, riversqlite.New(db), func() { _ = db.Close() }, "json_each($2)"}, nil
	}
	config, err := pgxpool.ParseConfig(postgresURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = max(config.MaxConns, 4) // The queue's listener keeps one, and so does a migration's lock.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDBFromPool(pool)
	queue := riverdatabasesql.NewWithPgxListener(db, pool)
	return &database{db, queue, func() { _ = db.Close(); pool.Close() }, "json_array_elements_text($2::json)"}, nil
}

// migrate creates the tables that are missing.
func (db *database) migrate(ctx context.Context) error {
	if db.queue.DatabaseName() == riverdriver.DatabaseNamePostgres {
		// Two instances that start together would create the same tables.
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(7205931846)"); err != nil {
			return err
		}
	}
	migrator, err := rivermigrate.New(db.queue, nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, schema)
	return err
}

// inTx commits what f does, if it returns nil.
func (db *database) inTx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
