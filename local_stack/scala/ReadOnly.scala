package lambda_dl

import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.catalyst.plans.logical.{Command, LogicalPlan}

/** HiveServer2 answers questions and changes nothing, not in the metastore either.
  *
  * The S3 keys keep an analyst from writing data; without this one could still drop a table's registration or a view.
  * Every command is refused but those that show, describe, explain or set something for the session.
  */
class ReadOnly extends (SparkSessionExtensions => Unit) {
  private val harmless = Set(
    "SetCommand", "ResetCommand", "SetCatalogAndNamespace", "SetNamespaceCommand", "SetCatalogCommand",
    "ExplainCommand", "RefreshTableCommand", "RefreshTable", "ListFilesCommand", "ListJarsCommand")

  override def apply(extensions: SparkSessionExtensions): Unit =
    extensions.injectCheckRule(_ => (plan: LogicalPlan) => plan.foreach {
      case command: Command if !allowed(command.getClass.getSimpleName) =>
        throw new UnsupportedOperationException(s"${command.nodeName} is refused: this server only reads")
      case _ =>
    })

  private def allowed(name: String): Boolean =
    harmless(name) || name.startsWith("Show") || name.startsWith("Describe") || name.startsWith("DeltaDescribe")
}
