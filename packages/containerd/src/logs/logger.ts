/**
 * The logger of machines whose lines carry times: one small Perl program per running machine, started by the shim as
 * `binary://` (containerd's runtime/v2/README.md): stdout comes on descriptor 3, stderr on 4, and closing 5 says "ready". It
 * lives as long as the machine, not as the app. Perl, because every Debian has it, and it starts in 5 ms where Node takes 45.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lazily } from '@vmkit/core/driver'
import { privateFolder } from '../state-dir.js'

const PERL = '/usr/bin/perl'

const SCRIPT = `#!${PERL}
# vmkit logger. Arguments: file PATH, cap BYTES (0: none), tty 0|1, in any order.
# Lines: SECONDS.MICROSECONDS SOURCE TEXT. Source o, e or c; in upper case the line goes on in the next.
use strict;
use Time::HiRes 'time';
my %arg = @ARGV;
my ($file, $cap) = ($arg{file}, $arg{cap});
# SIGTERM, from the shim or from a reader, says that the machine is over: what the pipes still hold is written, then it ends.
# From containerd 2 on the shim keeps their other end, so that no end of them comes.
my $over = 0;
$SIG{TERM} = sub { $over = 1 };
open(my $log, '>>', $file) or exit 1;
open(my $out, '<&=', 3) or exit 1;
open(my $err, '<&=', 4) or exit 1;
my %letter = (fileno($out) => $arg{tty} ? 'c' : 'o', fileno($err) => $arg{tty} ? 'c' : 'e');
my %handle = (fileno($out) => $out, fileno($err) => $err);
my %rest = map { $_ => '' } keys %handle;
if (open(my $ready, '<&=', 5)) { close $ready }
my ($longest, $floor) = (60000, 0);
if (open(my $kept, '<', "$file.floor")) { $floor = 0 + (<$kept> || 0); close $kept }

sub put { my ($source, $text) = @_; syswrite $log, sprintf("%.6f %s %s\\n", time, $source, $text) }

sub trim {
  my $size = -s $log;
  return if !$cap || $size - $floor <= $cap;
  my $next = int(($size - $cap / 2) / 4096) * 4096;
  open(my $new, '>', "$file.floor.new") or return;
  print $new "$next\\n";
  close $new;
  rename "$file.floor.new", "$file.floor";
  system 'fallocate', '--punch-hole', '--offset', $floor, '--length', $next - $floor, $file;
  $floor = $next;
}

while (%handle) {
  my $wanted = '';
  vec($wanted, $_, 1) = 1 for keys %handle;
  my $ready = select($wanted, undef, undef, $over ? 0 : undef);
  next if $ready < 0;
  last if !$ready;
  for my $fd (sort keys %handle) {
    next unless vec($wanted, $fd, 1);
    my $n = sysread $handle{$fd}, $rest{$fd}, 65536, length $rest{$fd};
    while ((my $end = index $rest{$fd}, "\\n") >= 0) {
      my $line = substr $rest{$fd}, 0, $end + 1, '';
      chop $line;
      put(uc $letter{$fd}, substr $line, 0, $longest, '') while length $line > $longest;
      put($letter{$fd}, $line);
    }
    put(uc $letter{$fd}, substr $rest{$fd}, 0, $longest, '') while length $rest{$fd} > $longest;
    if (!$n) {
      put($letter{$fd}, $rest{$fd}) if length $rest{$fd};
      delete $handle{$fd};
    }
    trim();
  }
}
for my $fd (sort keys %handle) { put($letter{$fd}, $rest{$fd}) if length $rest{$fd} }
`

const name = lazily(() => `logger-${createHash('sha256').update(SCRIPT).digest('hex').slice(0, 16)}.pl`)

/** Puts the program in the state folder, unless it is there. Its name is its hash: one that runs keeps its own. */
function installLogger(stateDir: string): string {
  const path = join(privateFolder(stateDir), name())
  if (existsSync(path)) return path
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  writeFileSync(temporary, SCRIPT, { mode: 0o700 })
  renameSync(temporary, path)
  return path
}

/** What the shim is given instead of the path of a file. */
export function loggerUri(stateDir: string, { file, cap, tty }: { file: string; cap: number; tty: boolean }): string {
  const query = new URLSearchParams({ file, cap: String(cap), tty: tty ? '1' : '0' })
  return `binary://${encodeURI(installLogger(stateDir))}?${query}`
}

/** Why there can be no logger here; `undefined` when there can. */
export function missingLogger(): string | undefined {
  return existsSync(PERL) ? undefined : `the logger that writes the times of lines is a Perl program, and there is no ${PERL}`
}
