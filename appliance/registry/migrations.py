"""The registry's tables, as numbered steps that are never changed once released: new needs are new steps."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE versions (
            name TEXT NOT NULL,
            version INTEGER NOT NULL,
            digest TEXT NOT NULL,       -- of the manifest
            manifest TEXT NOT NULL,     -- canonical JSON
            config_text TEXT NOT NULL,  -- as the package has it
            provenance TEXT,            -- JSON object, NULL if the package has none
            signature TEXT NOT NULL,    -- JSON, what the model file says it takes and gives
            added_at REAL NOT NULL,     -- seconds since 1970
            PRIMARY KEY (name, version)
        )
        """,
        """
        CREATE TABLE aliases (
            name TEXT NOT NULL,
            alias TEXT NOT NULL,
            version INTEGER NOT NULL,
            PRIMARY KEY (name, alias),
            FOREIGN KEY (name, version) REFERENCES versions (name, version) ON DELETE RESTRICT
        )
        """,
        """
        CREATE TABLE alias_history (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            alias TEXT NOT NULL,
            at REAL NOT NULL,
            previous INTEGER,           -- NULL: the alias was new
            version INTEGER             -- NULL: the alias was taken away
        )
        """,
        """
        CREATE TABLE loads (
            name TEXT NOT NULL,
            version INTEGER NOT NULL,
            unfinished INTEGER NOT NULL,  -- attempts in a row that began and never ended
            started_at REAL NOT NULL,
            finished_at REAL,             -- NULL: going on, or the process died
            problem TEXT NOT NULL,        -- '' if the last finished one ended READY
            PRIMARY KEY (name, version),
            FOREIGN KEY (name, version) REFERENCES versions (name, version) ON DELETE CASCADE
        )
        """,
    ),
    (
        """
        CREATE TABLE engines (
            key TEXT PRIMARY KEY,           -- over everything that makes an engine another engine
            digest TEXT NOT NULL,           -- of its file: no other content is ever loaded
            size_bytes INTEGER NOT NULL,
            model TEXT NOT NULL,            -- for whom it was built; not a reference: engines outlive their model
            version INTEGER NOT NULL,
            facts TEXT NOT NULL,            -- JSON, every component of the key
            build_s REAL NOT NULL,
            build_peak_bytes INTEGER NOT NULL,
            built_at REAL NOT NULL,         -- seconds since 1970
            used_at REAL NOT NULL,
            device_bytes INTEGER NOT NULL,  -- GPU memory when it was loaded, 0: never
            runtime_cache_digest TEXT NOT NULL,  -- of the file beside it, '' if there is none
            runtime_cache_bytes INTEGER NOT NULL
        )
        """,
    ),
    (
        """
        CREATE TABLE signed_versions (
            name TEXT NOT NULL,
            version INTEGER NOT NULL,
            target TEXT NOT NULL,         -- path that was signed
            item_digest TEXT NOT NULL,    -- of the signed manifest
            ticket_digest TEXT NOT NULL,  -- with which it was accepted, '' after a rebuild
            accepted_at REAL NOT NULL,    -- seconds since 1970
            PRIMARY KEY (name, version),
            FOREIGN KEY (name, version) REFERENCES versions (name, version) ON DELETE CASCADE
        )
        """,
        """
        CREATE TABLE tickets (
            digest TEXT PRIMARY KEY,
            seq INTEGER NOT NULL,
            id TEXT NOT NULL,
            state TEXT NOT NULL,          -- TRIAL, CONFIRMED, ROLLED_BACK or FAILED
            reason TEXT NOT NULL,
            items TEXT NOT NULL,          -- JSON list of target paths
            previous TEXT NOT NULL,       -- JSON, model name -> version that served before it, or null
            desired TEXT NOT NULL,        -- JSON, model name -> version that it brings
            settings_before TEXT NOT NULL,  -- SHA-256 of the site's settings before it, '' if there were none
            settings_after TEXT NOT NULL,   -- and of those that it put in force; the same if it changed none
            accepted_at REAL NOT NULL,
            finished_at REAL              -- NULL while on TRIAL
        )
        """,
        """
        CREATE TABLE scrub_results (
            digest TEXT PRIMARY KEY,      -- of content that was damaged or missing, and has not come back since
            problem TEXT NOT NULL,        -- what was found in its place
            quarantined INTEGER NOT NULL, -- 1: it was moved into quarantine, 0: it was not there at all
            at REAL NOT NULL              -- seconds since 1970
        )
        """,
        """
        CREATE TABLE scrubs (
            id INTEGER PRIMARY KEY,
            started_at REAL NOT NULL,
            finished_at REAL NOT NULL,    -- only scrubs that read everything are written down
            files INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            findings INTEGER NOT NULL     -- how many were new
        )
        """,
    ),
    (
        """
        CREATE TABLE crashes (
            process TEXT NOT NULL,        -- random name of the process that ended
            name TEXT NOT NULL,           -- of a version that was executing then
            version INTEGER NOT NULL,
            boot TEXT NOT NULL,           -- the kernel's name of the time since it started
            uptime_s REAL NOT NULL,       -- since then, when the next process found it
            at REAL NOT NULL,             -- the same in seconds since 1970, for people
            hung INTEGER NOT NULL,        -- 1: it had been called hung before
            PRIMARY KEY (process, name, version),
            FOREIGN KEY (name, version) REFERENCES versions (name, version) ON DELETE CASCADE
        )
        """,
    ),
)
