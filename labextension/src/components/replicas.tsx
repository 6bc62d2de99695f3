/** The replicas of a job by role and index: each a tile that says how it is, and leads to its log. */

import * as React from 'react';

import { clean } from '../format';
import { replicaName, replicaRoles, SIGNS } from '../model';
import type { Replica } from '../wire';
import { useKubeflow } from './context';
import { phaseClass } from './parts';
import { phaseWord, replicaFacts } from './words';

/** Of more replicas than these, a tile is only a sign; the line below says the rest. */
const MOST_LARGE = 32;

export function Replicas({ replicas, onPick }: { replicas: Replica[]; onPick: (name: string) => void }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const box = React.useRef<HTMLDivElement>(null);
  const [focus, setFocus] = React.useState('');
  const [over, setOver] = React.useState('');
  if (!replicas.length) {
    return null;
  }
  const small = replicas.length > MOST_LARGE;
  const reachable = replicas.some(one => replicaName(one) === focus) ? focus : replicaName(replicas[0] as Replica);
  const told = replicas.find(one => replicaName(one) === (over || focus));

  const onKeyDown = (event: React.KeyboardEvent) => {
    const tiles = [...(box.current?.querySelectorAll<HTMLElement>('.kfx-Tile') ?? [])];
    const to = neighbour(tiles, event.target as HTMLElement, event.key);
    if (to) {
      event.preventDefault();
      to.focus();
    }
  };

  return (
    <div ref={box} className={`kfx-Replicas${small ? ' kfx-small' : ''}`} onKeyDown={onKeyDown} onMouseLeave={() => setOver('')}>
      {replicaRoles(replicas).map(({ role, members, counts }) => (
        <div key={role} className="kfx-Role" role="group" aria-label={`${role}: ${counted(trans, counts)}`}>
          <div className="kfx-Role-head" aria-hidden="true">
            <b>{role}</b> <span className="kfx-dim">{counted(trans, counts)}</span>
          </div>
          <div className="kfx-Tiles">
            {members.map(one => {
              const name = replicaName(one);
              return (
                <button
                  key={name}
                  type="button"
                  className={`kfx-Tile ${phaseClass(one.phase)}`}
                  data-replica={name}
                  tabIndex={name === reachable ? 0 : -1}
                  aria-label={sentence(trans, one)}
                  title={`${sentence(trans, one)}\n${trans.__('Show its log')}`}
                  onFocus={() => setFocus(name)}
                  onBlur={() => setFocus('')}
                  onMouseEnter={() => setOver(name)}
                  onClick={() => onPick(name)}
                >
                  <span className="kfx-Sign">{SIGNS[one.phase] ?? '○'}</span>
                  {!small && (
                    <>
                      <span className="kfx-Tile-name">
                        <b>{name}</b> {phaseWord(trans, one.phase)}
                      </span>
                      <span className="kfx-Tile-more">{more(trans, one) || '\u00a0'}</span>
                    </>
                  )}
                </button>
              );
            })}
          </div>
        </div>
      ))}
      {small && (
        <p className="kfx-Note kfx-Replicas-told">{told ? sentence(trans, told) : trans.__('Point at a replica to read how it is; click to read its log.')}</p>
      )}
    </div>
  );
}

type Words = ReturnType<typeof useKubeflow>['trans'];

/** Where it runs and what happened to it: `node-1 · 2 restarts · exit code 1 · OOMKilled`. */
function more(trans: Words, one: Replica): string {
  return [...(one.node ? [one.node] : []), ...replicaFacts(trans, one)].join(' · ');
}

/** `6 Running, 1 Failed`. */
function counted(trans: Words, counts: [string, number][]): string {
  return counts.map(([phase, count]) => `${count} ${phaseWord(trans, phase)}`).join(', ');
}

/** All of it: `worker-1: Failed, node-1 · exit code 1 · Error. What the cluster says.` */
function sentence(trans: Words, one: Replica): string {
  const facts = more(trans, one);
  const said = one.phase === 'Succeeded' ? '' : clean(one.message);
  return `${replicaName(one)}: ${phaseWord(trans, one.phase)}${facts ? `, ${facts}` : ''}${said ? `. ${said}` : ''}`;
}

/** The tile that a key leads to from another: to the side the next, up and down the one that lies there. */
function neighbour(tiles: HTMLElement[], from: HTMLElement, key: string): HTMLElement | undefined {
  const at = tiles.indexOf(from);
  const flat: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tiles.length - 1 };
  const index = flat[key];
  if (index !== undefined) {
    return tiles[index];
  }
  const way = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (!way || at < 0) {
    return undefined;
  }
  const here = from.getBoundingClientRect();
  const beyond = tiles.map(tile => ({ tile, box: tile.getBoundingClientRect() })).filter(({ box }) => (box.top - here.top) * way > 2);
  const line = Math.min(...beyond.map(({ box }) => (box.top - here.top) * way));
  return beyond
    .filter(({ box }) => (box.top - here.top) * way < line + 2)
    .sort((a, b) => Math.abs(a.box.left - here.left) - Math.abs(b.box.left - here.left))[0]?.tile;
}
