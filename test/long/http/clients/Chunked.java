import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

/** Sends a chunked body of args[1] bytes and then a small batch on the same connection; prints both statuses. */
class Chunked {
  static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  static int post(String url, BodyPublisher body) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(url)).header("Content-Type", "application/json").POST(body);
    return CLIENT.send(request.build(), BodyHandlers.ofString()).statusCode();
  }

  public static void main(String[] args) throws Exception {
    var url = args[0] + "/api/signals/batch";
    var size = Integer.parseInt(args[1]);
    InputStream spaces = new ByteArrayInputStream(" ".repeat(size).getBytes("US-ASCII"));
    var first = post(url, BodyPublishers.ofInputStream(() -> spaces));
    var second = post(url, BodyPublishers.ofString("{\"signals\":[{\"context_window_id\":\"after\"}]}"));
    System.out.println(first + " " + second);
  }
}
