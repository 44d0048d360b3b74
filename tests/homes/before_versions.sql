-- platform.db as the commit of 2026-11-29 21:22 (dff2609), the last before versions, wrote it: a row or more in each table
BEGIN TRANSACTION;
CREATE TABLE findings (
	id INTEGER NOT NULL, 
	usecase VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	severity VARCHAR NOT NULL, 
	title VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	evidence TEXT NOT NULL, 
	opened DATETIME NOT NULL, 
	last_seen DATETIME NOT NULL, 
	times_seen INTEGER NOT NULL, 
	recorded_at DATETIME NOT NULL, 
	due DATETIME NOT NULL, 
	acknowledged_by VARCHAR, 
	acknowledged_at DATETIME, 
	resolved DATETIME, 
	resolved_at DATETIME, 
	resolved_how TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "findings" VALUES(1,'pumps','decay','decay','warning','worse','worse','{}','2026-04-01 00:00:00.000000','2026-04-01 00:00:00.000000',1,'2026-04-01 00:00:00.000000','2026-04-01 00:00:00.000000',NULL,NULL,'2026-04-01 00:00:00.000000','2026-04-01 00:00:00.000000','a new version answers');
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	entry VARCHAR NOT NULL, 
	usecase VARCHAR NOT NULL, 
	turn VARCHAR, 
	as_of DATETIME NOT NULL, 
	recorded_at DATETIME NOT NULL, 
	kind VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	cause VARCHAR NOT NULL, 
	summary TEXT NOT NULL, 
	evidence TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (entry), 
	FOREIGN KEY(turn) REFERENCES turns (id)
);
INSERT INTO "ledger" VALUES(1,'pumps/decision/1','pumps','8767a8430303','2026-04-01 00:00:00.000000','2026-11-29 21:59:25.733491','decision','retrain','decay','worse','{"window": {"start": "2026-03-08T00:00:00+00:00", "end": "2026-03-15T00:00:00+00:00", "champion": "b1", "version": "1", "rows": 100, "champion_rows": 100, "labelled": 100, "coverage": 1.0, "ripe": true, "status": "violated", "realised": [{"metric": "roc_auc", "value": 0.6, "reference": 0.7, "drop": 0.03, "status": "violated"}], "drift": [], "served": {}}}');
CREATE TABLE marks (
	usecase VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (usecase, name)
);
INSERT INTO "marks" VALUES('pumps','schedule','{"active": true}');
CREATE TABLE measurements (
	id INTEGER NOT NULL, 
	usecase VARCHAR NOT NULL, 
	window_start DATETIME NOT NULL, 
	window_end DATETIME NOT NULL, 
	content TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (usecase, window_start, window_end)
);
INSERT INTO "measurements" VALUES(1,'pumps','2026-03-01 00:00:00.000000','2026-03-08 00:00:00.000000','{"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-08T00:00:00+00:00", "champion": "b1", "version": "1", "rows": 100, "champion_rows": 100, "labelled": 100, "coverage": 1.0, "ripe": true, "status": "good", "realised": [{"metric": "roc_auc", "value": 0.71, "reference": 0.7, "drop": 0.03, "status": "good"}], "drift": [], "served": {}}');
INSERT INTO "measurements" VALUES(2,'pumps','2026-03-08 00:00:00.000000','2026-03-15 00:00:00.000000','{"start": "2026-03-08T00:00:00+00:00", "end": "2026-03-15T00:00:00+00:00", "champion": "b1", "version": "1", "rows": 100, "champion_rows": 100, "labelled": 100, "coverage": 1.0, "ripe": true, "status": "violated", "realised": [{"metric": "roc_auc", "value": 0.6, "reference": 0.7, "drop": 0.03, "status": "violated"}], "drift": [], "served": {}}');
INSERT INTO "measurements" VALUES(3,'pumps','2026-03-15 00:00:00.000000','2026-03-22 00:00:00.000000','{"start": "2026-03-15T00:00:00+00:00", "end": "2026-03-22T00:00:00+00:00", "champion": "b1", "version": "1", "rows": 100, "champion_rows": 100, "labelled": 0, "coverage": 0.0, "ripe": false, "status": "unknown", "realised": [{"metric": "roc_auc", "value": null, "reference": 0.7, "drop": 0.03, "status": "unknown"}], "drift": [], "served": {}}');
CREATE TABLE outbox (
	id VARCHAR NOT NULL, 
	usecase VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	labels TEXT NOT NULL, 
	payload TEXT NOT NULL, 
	occurred DATETIME NOT NULL, 
	sent DATETIME, 
	PRIMARY KEY (id)
);
INSERT INTO "outbox" VALUES('9140bec2-9177-4a47-a1a8-40af7e942537','pumps','driftwheel.retrain.requested','{"driftwheel.turn": "8767a8430303"}','{"turn_id": "8767a8430303"}','2026-11-29 21:59:25.754393',NULL);
CREATE TABLE running (
	flow_run VARCHAR NOT NULL, 
	usecase VARCHAR NOT NULL, 
	host VARCHAR NOT NULL, 
	process INTEGER NOT NULL, 
	born FLOAT NOT NULL, 
	seen DATETIME NOT NULL, 
	PRIMARY KEY (flow_run)
);
INSERT INTO "running" VALUES('f1','pumps','host',7,1.5,'2026-04-01 00:00:00.000000');
CREATE TABLE target_views (
	usecase VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	listed DATETIME NOT NULL, 
	sendable DATETIME NOT NULL, 
	PRIMARY KEY (usecase, target)
);
INSERT INTO "target_views" VALUES('pumps','t1','2026-04-01 00:00:00.000000','2026-04-01 00:00:00.000000');
CREATE TABLE targets (
	usecase VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	label VARCHAR NOT NULL, 
	since DATETIME NOT NULL, 
	posts TEXT NOT NULL, 
	digested DATETIME, 
	attempts INTEGER NOT NULL, 
	next_attempt DATETIME, 
	failing_since DATETIME, 
	last_error TEXT NOT NULL, 
	last_success DATETIME, 
	claimed_until DATETIME, 
	PRIMARY KEY (usecase, target)
);
INSERT INTO "targets" VALUES('pumps','t1','chat','2026-04-01 00:00:00.000000','[]',NULL,0,NULL,NULL,'',NULL,NULL);
CREATE TABLE told (
	usecase VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	finding INTEGER NOT NULL, 
	severity VARCHAR, 
	resolved INTEGER NOT NULL, 
	PRIMARY KEY (usecase, target, finding)
);
INSERT INTO "told" VALUES('pumps','t1',1,'warning',1);
CREATE TABLE trusted_code (
	usecase VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	PRIMARY KEY (usecase)
);
INSERT INTO "trusted_code" VALUES('pumps','d1');
CREATE TABLE turns (
	id VARCHAR NOT NULL, 
	usecase VARCHAR NOT NULL, 
	cause VARCHAR NOT NULL, 
	decision VARCHAR, 
	as_of DATETIME NOT NULL, 
	state VARCHAR NOT NULL, 
	owner VARCHAR, 
	lease_until DATETIME, 
	flow_run VARCHAR, 
	tracking_run VARCHAR, 
	product TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "turns" VALUES('081aaf7a8dd9','pumps','bootstrap',NULL,'2026-03-01 00:00:00.000000','done',NULL,'2026-11-29 21:59:25.665300','run-1',NULL,'{"bundle": "b1"}');
INSERT INTO "turns" VALUES('8767a8430303','pumps','decay','pumps/decision/1','2026-04-01 00:00:00.000000','requested',NULL,'2026-11-29 21:59:25.691149',NULL,NULL,NULL);
CREATE TABLE use_cases (
	name VARCHAR NOT NULL, 
	folder VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	schedule TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "use_cases" VALUES('pumps','/srv/pumps','d1','{}');
CREATE UNIQUE INDEX one_open_turn ON turns (usecase) WHERE state IN ('requested','collecting','training','deploying');
CREATE UNIQUE INDEX one_open_finding ON findings (usecase, "key") WHERE resolved_at IS NULL;
CREATE INDEX ix_findings_usecase ON findings (usecase);
CREATE INDEX ledger_by_kind ON ledger (usecase, kind, id);
CREATE INDEX ix_ledger_usecase ON ledger (usecase);
COMMIT;
