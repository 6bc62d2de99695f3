/** A request to an endpoint by hand: JSON in, the answer out. It goes through the server, to where the endpoint is. */

import * as React from 'react';

import { KubeflowError } from '../client';
import { number } from '../format';
import type { EndpointKey, EndpointView, TryAnswer } from '../wire';
import { useKubeflow } from './context';

const UNKNOWN_WIDTH = 4;

/** One row of as many numbers as the model takes. */
function example(view: EndpointView): string {
  const width = view.versions.map(one => one.width).find(Boolean) ?? UNKNOWN_WIDTH;
  return JSON.stringify([Array<number>(width).fill(0)]);
}

export function TryIt({ view, endpoint }: { view: EndpointView; endpoint: EndpointKey }): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const [text, setText] = React.useState<string | null>(null);
  const [busy, setBusy] = React.useState(false);
  const [answer, setAnswer] = React.useState<TryAnswer | null>(null);
  const [error, setError] = React.useState<[string, string] | null>(null);
  const [told, setTold] = React.useState('');
  const shown = text ?? example(view);
  const fail = (caught: unknown) =>
    setError([caught instanceof Error ? caught.message : String(caught), caught instanceof KubeflowError ? caught.hint : '']);
  const send = async () => {
    let value: unknown;
    setTold('');
    try {
      value = JSON.parse(shown);
    } catch (caught) {
      setAnswer(null);
      setError([trans.__('This is not JSON: %1', caught instanceof Error ? caught.message : ''), '']);
      return;
    }
    setBusy(true);
    try {
      setAnswer(await client.predict(endpoint, { value }));
      setError(null);
    } catch (caught) {
      setAnswer(null);
      fail(caught);
    } finally {
      setBusy(false);
    }
  };
  const reward = async (value: number) => {
    if (answer) {
      try {
        await client.feedback(endpoint, { request: answer.request, response: answer.response, reward: value });
        setTold(trans.__('Told.'));
      } catch (caught) {
        fail(caught);
      }
    }
  };
  const facts = answer && [
    `${number(answer.seconds * 1000)} ms`,
    answer.version && trans.__('version %1', answer.version),
    ...Object.entries(answer.routing).map(([name, branch]) => `${name} → ${branch}`),
    ...Object.entries(answer.tags).map(([name, value]) => `${name}=${String(value)}`)
  ];
  return (
    <div className="kfx-Try">
      <textarea
        className="kfx-Text"
        rows={Math.min(8, Math.max(2, shown.split('\n').length))}
        spellCheck={false}
        aria-label={trans.__('What to predict for, as JSON')}
        data-lm-suppress-shortcuts=""
        value={shown}
        onChange={event => setText(event.target.value)}
        onKeyDown={event => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || event.shiftKey)) {
            event.preventDefault();
            event.stopPropagation();
            void send();
          }
        }}
      />
      <div className="kfx-Tools-row">
        <button type="button" className="kfx-Button kfx-primary" disabled={busy} title={trans.__('Shift Enter')} onClick={() => void send()}>
          {busy ? trans.__('Asking …') : trans.__('Predict')}
        </button>
        {answer && view.protocol === 'seldon' && (
          <>
            <button type="button" className="kfx-Button" title={trans.__('Tell that the answer was right: reward 1')} onClick={() => void reward(1)}>
              {trans.__('Right')}
            </button>
            <button type="button" className="kfx-Button" title={trans.__('Tell that the answer was wrong: reward 0')} onClick={() => void reward(0)}>
              {trans.__('Wrong')}
            </button>
          </>
        )}
        <span role="status">{told}</span>
      </div>
      <div aria-live="polite">
        {answer && (
          <>
            <pre className="kfx-Pre" tabIndex={0} role="region" aria-label={trans.__('Answer')}>
              {JSON.stringify(answer.value)}
            </pre>
            <p className="kfx-Note">{facts?.filter(Boolean).join(' · ')}</p>
          </>
        )}
      </div>
      {error && (
        <div className="kfx-Notice" role="alert">
          <pre className="kfx-Try-error">{error[0]}</pre>
          {error[1] && <div className="kfx-dim">{error[1]}</div>}
        </div>
      )}
    </div>
  );
}
