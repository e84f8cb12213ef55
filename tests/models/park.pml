/* A run is put away, and messages come: nothing is lost and nothing is read twice. One run, two
   messages, owners that may die once, workers that look only where the database says `due`.

   What each step stands for:
     Sender  deliver() (sql/inbox.sql): `for no key update`; then the message, last_seq, due_at
     Owner   claim() (sql/claim.sql, due_at = null), then read (inbox.sql) after the cursor, which
             is the highest seq in the journal; the turn that records what was read; mail and
             clear_due (inbox.sql, only where last_seq = seen); park (sql/commit.sql: the lock,
             and in a later statement only where last_seq = seen)
     dies    take_back (workers.sql): due at once, memory gone

   holds: DEATHS=0
   holds: DEATHS=1
   fails: PARK_OLD_SNAPSHOT DEATHS=0    parks by what the inbox held before the lock
   fails: WITHOUT_DUE DEATHS=0          deliver does not make the run due
   fails: CLEAR_BLINDLY DEATHS=0        what was read is no news, even if more has come
   fails: READ_BEFORE_CLAIM DEATHS=0    the claim clears due_at after the inbox was read
   fails: CURSOR_IN_ROW DEATHS=1        read_seq, written at a park, taken for the cursor
*/
#define MESSAGES 2

bool locked, due = true, is_owned, in_memory;
byte last_seq, read_seq, cursor, recorded, deaths;

proctype Sender() {
  atomic { !locked -> locked = true };
  atomic { last_seq++;
#ifndef WITHOUT_DUE
    due = true;
#endif
    locked = false }
}

proctype Owner() {
  byte seen, until;
look:
#ifdef READ_BEFORE_CLAIM
  atomic { !is_owned && due -> until = last_seq };
#endif
  atomic { !is_owned && due && !locked -> is_owned = true; due = false };
#ifdef CURSOR_IN_ROW
  seen = read_seq;
#else
  seen = cursor;
#endif
#ifndef READ_BEFORE_CLAIM
  until = last_seq;
#endif
record:                                  /* the turn that journals what was read */
  do
  :: atomic { seen < until -> seen++; assert(seen == cursor + 1); cursor = seen; recorded++ }
  :: atomic { deaths < DEATHS -> deaths++; is_owned = false; due = true; seen = 0; until = 0;
       goto look }
  :: seen >= until -> break
  od;
wait:
  if
  :: due -> until = last_seq;            /* mail, read */
     atomic {                            /* clear_due, skip locked */
       if
#ifdef CLEAR_BLINDLY
       :: !locked -> due = false
#else
       :: !locked && last_seq == until -> due = false
       :: !locked && last_seq != until
#endif
       :: locked
       fi };
     goto record
  :: true ->
#ifdef PARK_OLD_SNAPSHOT
     bool unread;
     unread = last_seq > seen;
     atomic { !locked -> locked = true };
     atomic { locked = false;
       if
       :: !unread -> is_owned = false; due = false; read_seq = seen; goto look
       :: else -> goto declined
       fi }
#else
     atomic { if :: locked -> goto wait :: else -> locked = true fi };
     atomic { locked = false;
       if
       :: last_seq == seen -> is_owned = false; due = false; read_seq = seen; goto look
       :: else -> goto declined
       fi }
#endif
  fi;
declined:
  due -> goto wait                       /* nobody parks again before there is news */
}

init {
  atomic { run Owner(); run Sender(); run Sender() };
  timeout -> assert(recorded == MESSAGES && !due)
}
