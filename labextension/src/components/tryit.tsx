/** A request to an endpoint by hand: JSON in, the answer out. It goes through the server, to where the endpoint is. */

import * as React from 'react';

import { KubeflowError } from '../client';
import { exampleOf, routesOf } from '../endpoints';
import { number } from '../format';
import type { EndpointKey, EndpointView, FeedbackRequest, TryAnswer } from '../wire';
import { useKubeflow } from './context';

interface TryItProps {
  view: EndpointView;
  endpoint: EndpointKey;
  /** It is asked. */
  onAsk: () => void;
}

export function TryIt({ view, endpoint, onAsk }: TryItProps): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const ask = (value: unknown) => {
    onAsk();
    return client.predict(endpoint, { value });
  };
  return (
    <TryPane
      example={exampleOf(view.versions)}
      ask={ask}
      slow={view.versions.some(one => one.asleep) ? trans.__('This request starts its servers, and waits until they answer.') : ''}
      ways={answer => routesOf(answer.routing, view.versions, endpoint.name)}
      tell={view.protocol === 'seldon' ? said => client.feedback(endpoint, said) : null}
    />
  );
}

interface TryProps {
  example: string;
  ask: (value: unknown) => Promise<TryAnswer>;
  /** Why an answer will take longer than usual. */
  slow?: string;
  /** Which ways through a graph the request took. */
  ways?: (answer: TryAnswer) => string[];
  /** Null where the protocol knows no feedback. */
  tell: ((said: FeedbackRequest) => Promise<unknown>) | null;
}

export function TryPane({ example, ask, slow = '', ways, tell }: TryProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [text, setText] = React.useState<string | null>(null);
  const [busy, setBusy] = React.useState(false);
  const [answer, setAnswer] = React.useState<TryAnswer | null>(null);
  const [error, setError] = React.useState<[string, string] | null>(null);
  const [told, setTold] = React.useState('');
  const [given, setGiven] = React.useState(0.5);
  const shown = text ?? example;
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
    // Said until the answer is here, though what slept then sleeps no more.
    setTold(slow);
    try {
      setAnswer(await ask(value));
      setError(null);
    } catch (caught) {
      setAnswer(null);
      fail(caught);
    } finally {
      setBusy(false);
      setTold('');
    }
  };
  const reward = async (value: number) => {
    if (answer && tell) {
      try {
        await tell({ request: answer.request, response: answer.response, reward: value });
        setTold(trans.__('Told: reward %1.', value));
      } catch (caught) {
        fail(caught);
      }
    }
  };
  const facts = answer && [
    `${number(answer.seconds * 1000)} ms`,
    answer.version && trans.__('version %1', answer.version),
    ...(ways?.(answer) ?? []),
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
        {answer && tell && (
          <>
            <button type="button" className="kfx-Button" title={trans.__('Tell that the answer was right: reward 1')} onClick={() => void reward(1)}>
              {trans.__('Right')}
            </button>
            <button type="button" className="kfx-Button" title={trans.__('Tell that the answer was wrong: reward 0')} onClick={() => void reward(0)}>
              {trans.__('Wrong')}
            </button>
            <input
              type="number"
              className="kfx-Input kfx-Percent"
              step="any"
              value={Number.isNaN(given) ? '' : given}
              aria-label={trans.__('Reward')}
              data-lm-suppress-shortcuts=""
              onChange={event => setGiven(event.target.valueAsNumber)}
            />
            <button type="button" className="kfx-Button" disabled={Number.isNaN(given)} title={trans.__('Tell this reward; bandits learn from it')} onClick={() => void reward(given)}>
              {trans.__('Tell')}
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
